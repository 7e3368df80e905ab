-- The three clusters with the highest and the three with the lowest n_docs.
SELECT cluster_id, n_docs, n_tokens FROM centroids
QUALIFY row_number() OVER (ORDER BY n_docs DESC, cluster_id) <= 3
    OR row_number() OVER (ORDER BY n_docs, cluster_id) <= 3
ORDER BY n_docs DESC, cluster_id
