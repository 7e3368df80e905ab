-- The twenty largest clusters, with their names and families.
SELECT cluster_id AS "number", name, family_name AS family, named_by, n_docs, n_tokens FROM taxonomy
ORDER BY n_docs DESC, cluster_id LIMIT 20
