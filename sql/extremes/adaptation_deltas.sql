-- The three clusters with the highest and the three with the lowest relative_delta.
SELECT * FROM adaptation_deltas
QUALIFY row_number() OVER (ORDER BY relative_delta DESC, cluster_id) <= 3
    OR row_number() OVER (ORDER BY relative_delta, cluster_id) <= 3
ORDER BY relative_delta DESC, cluster_id
