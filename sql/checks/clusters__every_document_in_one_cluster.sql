SELECT coalesce(d.doc_id, c.doc_id) AS doc_id, count(c.cluster_id) AS n_clusters
FROM corpus AS d FULL JOIN clusters AS c USING (doc_id)
GROUP BY 1 HAVING count(c.cluster_id) <> 1 OR count(d.doc_id) <> 1
ORDER BY 1
