-- What the score of a judged document is compared with.
-- in: quality_scores, corpus   out: one row a judged document
SELECT q.doc_id, q.score, c.language, c.source, c.n_tokens
FROM quality_scores AS q JOIN corpus AS c USING (doc_id)
ORDER BY q.doc_id
