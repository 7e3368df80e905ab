-- Starts of k-means whose mean cosine never rises above its first value. Dissolving small components lowers it
-- afterwards, so the highest value counts.
-- A mixture has its own check, never_falls: its F does not rise while the strength of the balance does.
SELECT
    seed,
    first(objective ORDER BY iteration) AS at_first,
    max(objective) FILTER (iteration > 0) AS highest
FROM fit_trace
WHERE balance IS NULL
GROUP BY seed HAVING max(objective) FILTER (iteration > 0) < first(objective ORDER BY iteration) - 1e-6
ORDER BY seed
