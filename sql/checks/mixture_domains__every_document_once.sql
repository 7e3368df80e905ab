SELECT coalesce(c.doc_id, d.doc_id) AS doc_id, n
FROM corpus AS c
FULL JOIN (SELECT doc_id, count(*) AS n FROM mixture_documents GROUP BY doc_id) AS d ON c.doc_id = d.doc_id
WHERE c.doc_id IS NULL OR d.doc_id IS NULL OR n > 1
UNION ALL
SELECT name, n_docs FROM mixture_domains WHERE n_held_out >= n_docs
ORDER BY 1
