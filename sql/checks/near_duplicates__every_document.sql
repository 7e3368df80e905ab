SELECT coalesce(c.doc_id, n.doc_id) AS doc_id, n.times
FROM corpus AS c FULL JOIN (SELECT doc_id, count(*) AS times FROM near_duplicates GROUP BY doc_id) AS n USING (doc_id)
WHERE c.doc_id IS NULL OR n.doc_id IS NULL OR n.times > 1
ORDER BY 1
