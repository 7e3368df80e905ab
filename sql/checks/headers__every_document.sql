-- Documents of the corpus without a row, rows without a document, and documents that would be skipped as a whole.
SELECT coalesce(c.doc_id, h.doc_id) AS doc_id, h.n_bytes
FROM corpus AS c FULL JOIN headers AS h USING (doc_id)
WHERE c.doc_id IS NULL OR h.doc_id IS NULL OR h.n_bytes >= c.n_bytes
ORDER BY doc_id
