SELECT m.doc_id, any_value(m.cluster_id) AS on_the_map, any_value(c.cluster_id) AS cluster_id, count(*) AS n
FROM corpus_map AS m LEFT JOIN clusters AS c USING (doc_id)
GROUP BY m.doc_id
HAVING count(*) <> 1 OR on_the_map IS DISTINCT FROM any_value(c.cluster_id)
ORDER BY m.doc_id
