SELECT coalesce(n.doc_id, d.doc_id) AS doc_id, n.stands_for
FROM near_duplicates AS n FULL JOIN (SELECT doc_id FROM distinct_documents) AS d USING (doc_id)
WHERE (n.stands_for = n.doc_id) IS DISTINCT FROM (d.doc_id IS NOT NULL)
ORDER BY 1
