-- Q_k of each cluster with its standard error, best first.
SELECT cluster_id, quality, standard_error, n_judged FROM cluster_quality ORDER BY quality DESC, cluster_id
