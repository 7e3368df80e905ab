-- What the features of each source cost for the whole pool.
-- in: grasp_sketch_sources (tools/grasp.py)   out: one row per source
SELECT
    source, any_value(features) AS "numbers of a feature", any_value(sketch) AS "sketch",
    printf('%.1f', max(seconds)) AS seconds, printf('%.2e', max(flops)) AS "operations", printf('%.1f', max(bytes) / 1e6) AS "MB kept"
FROM grasp_sketch_sources
GROUP BY source
ORDER BY max(seconds)
