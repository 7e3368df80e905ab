-- Properties of the judged documents, with which their scores are compared.
-- in: quality_scores, corpus   out: one row per judged document
SELECT q.doc_id, q.score, c.language, c.source, c.n_tokens
FROM quality_scores AS q JOIN corpus AS c USING (doc_id)
ORDER BY q.doc_id
