-- Held-out documents by language, quality of the cluster and length: the last rung beside random.
-- in: evaluation   out: one row per slice
SELECT
    g.slice_by, g.slice, g.n_items AS documents, round(r.value, 4) AS random, round(g.value, 4) AS grip,
    printf('%+.4f ± %.4f', g.to_random, (g.to_random_high - g.to_random_low) / 2) AS difference, g.verdict
FROM evaluation AS g JOIN evaluation AS r USING ("set", slice_by, slice, measure)
WHERE g.strategy = 'grip' AND r.strategy = 'random' AND g.slice_by != 'all'
ORDER BY g.slice_by, g.n_items DESC
