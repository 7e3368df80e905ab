WITH measured AS (
    SELECT cluster_id, value, sqrt(list_inner_product(centroid::FLOAT[], centroid::FLOAT[])) AS norm FROM components
)
SELECT * FROM measured
WHERE isnan(norm) OR NOT (abs(norm - 1) < 0.001 OR (norm = 0 AND value IS NOT NULL))
ORDER BY cluster_id
