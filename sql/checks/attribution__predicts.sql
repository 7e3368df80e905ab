-- On structured subsets that no choice has seen, the chosen configuration agrees with retraining beyond chance.
SELECT configuration, target, size, n, spearman, low
FROM attribution_fidelity
WHERE what = 'chosen' AND kind = 'structured' AND NOT coalesce(low > 0, false)
    AND (target = 'mean of targets' OR (SELECT count(DISTINCT target) FROM attribution_fidelity) = 1)
ORDER BY size
