-- Where some documents come from, and how they begin.
-- in: corpus   parameters: ids, chars   out: one row per document
SELECT doc_id, source, language, n_tokens, left(text, $chars) || CASE WHEN length(text) > $chars THEN '…'
    ELSE '' END AS head
FROM corpus WHERE doc_id IN (SELECT unnest($ids::VARCHAR[]))
ORDER BY doc_id
