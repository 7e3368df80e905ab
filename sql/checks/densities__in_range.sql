-- Vectors are rounded to float16, so a distance may be a little above 2.
WITH asked AS (SELECT value::BIGINT AS k FROM settings WHERE "group" = 'selection' AND name = 'neighbours')
SELECT doc_id, cluster_id, density, nearest, mean_distance, farthest
FROM densities, asked
WHERE NOT (density BETWEEN 0 AND k AND bandwidth > 0)
    OR NOT (nearest BETWEEN 0 AND mean_distance + 1e-9 AND mean_distance <= farthest + 1e-9 AND farthest <= 2.01)
ORDER BY 1
