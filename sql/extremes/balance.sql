-- Every fit.
SELECT fit, masses, balance, effective, largest, smallest, gini, light, mean_cosine FROM balance
