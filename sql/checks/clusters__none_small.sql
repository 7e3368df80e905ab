SELECT c.cluster_id, c.n_docs, s.value::BIGINT AS least
FROM centroids AS c, (SELECT value FROM settings WHERE "group" = 'clustering' AND name = 'min_cluster_docs') AS s
WHERE c.n_docs < s.value::BIGINT AND (SELECT count(*) FROM centroids) > 1
ORDER BY c.cluster_id
