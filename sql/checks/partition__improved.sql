-- Starts that end with a lower mean cosine than they began with. Dissolving small components lowers it a little.
SELECT seed, first(objective ORDER BY iteration) AS at_first, last(objective ORDER BY iteration) AS at_last
FROM fit_trace
GROUP BY seed HAVING last(objective ORDER BY iteration) < first(objective ORDER BY iteration) - 1e-6
ORDER BY seed
