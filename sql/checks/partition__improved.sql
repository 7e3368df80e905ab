-- Starts that end with a lower mean cosine than they began with. Dissolving small components lowers it a little.
-- A mixture has its own check, never_falls: its F does not rise while the strength of the balance does.
SELECT seed, first(objective ORDER BY iteration) AS at_first, last(objective ORDER BY iteration) AS at_last
FROM fit_trace
WHERE balance IS NULL
GROUP BY seed HAVING last(objective ORDER BY iteration) < first(objective ORDER BY iteration) - 1e-6
ORDER BY seed
