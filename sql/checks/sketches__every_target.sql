WITH wanted AS (
    SELECT target, source FROM (SELECT DISTINCT target FROM target_sketches) CROSS JOIN sketch_sources
)
SELECT w.target, w.source, t.n_items
FROM wanted AS w LEFT JOIN target_sketches AS t ON w.target = t.target AND w.source = t.source
WHERE t.n_items IS NULL OR t.n_items < 1
ORDER BY 1, 2
