-- How often some documents were selected.
-- in: selection_weights   parameters: ids   out: one row per document
SELECT doc_id, repeats FROM selection_weights WHERE doc_id IN (SELECT unnest($ids::VARCHAR[])) ORDER BY doc_id
