-- The three clusters with the highest and the three with the lowest quality.
SELECT * FROM cluster_quality
QUALIFY row_number() OVER (ORDER BY quality DESC, cluster_id) <= 3
    OR row_number() OVER (ORDER BY quality, cluster_id) <= 3
ORDER BY quality DESC, cluster_id
