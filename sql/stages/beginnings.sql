-- How some documents begin.
-- in: corpus, wanted (doc_id)   parameters: chars   out: one row per wanted document
SELECT doc_id, left(text, $chars) AS text FROM corpus SEMI JOIN wanted USING (doc_id)
ORDER BY doc_id
