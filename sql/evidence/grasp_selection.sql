-- Models trained on each selection: bits per byte on the target, and differences to random documents on all targets.
-- Less is better.
-- in: grasp_selection (tools/grasp.py)   out: one row per start, aim and strategy
SELECT
    start, coalesce(aim, 'none') AS "selected for", strategy AS "selection", any_value(seeds) AS seeds,
    coalesce(printf('%.3f', max(CASE WHEN target = aim THEN bits_per_byte END)), '') AS "bits per byte on it",
    max(CASE WHEN target = 'humaneval' THEN printf('%+.3f (%+.3f to %+.3f)', difference, difference_low, difference_high) END)
        AS "humaneval, to random",
    max(CASE WHEN target = 'project' THEN printf('%+.3f (%+.3f to %+.3f)', difference, difference_low, difference_high) END)
        AS "project, to random",
    max(CASE WHEN target = 'elsewhere' THEN printf('%+.3f (%+.3f to %+.3f)', difference, difference_low, difference_high) END)
        AS "elsewhere, to random",
    printf('%.0f', any_value(n_docs)) AS documents
FROM grasp_selection
GROUP BY start, aim, strategy
ORDER BY start, aim NULLS FIRST, max(CASE WHEN target = coalesce(aim, 'humaneval') THEN bits_per_byte END)
