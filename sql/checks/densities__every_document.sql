SELECT coalesce(c.doc_id, d.doc_id) AS doc_id, c.cluster_id, d.cluster_id AS cluster_of_density
FROM (SELECT doc_id, cluster_id FROM clusters WHERE cosine IS NOT NULL) AS c FULL JOIN densities AS d USING (doc_id)
WHERE c.cluster_id IS DISTINCT FROM d.cluster_id OR d.density IS NULL
ORDER BY 1
