-- The documents of parts $first to $last of an export, with all that is known of them, in any order.
-- `repeats`: how often to train on each.
-- in: export_rows, corpus   out: one row a row of the export
SELECT
    e.part, e.position, e.doc_id, c.text, e.language, e.source, e.n_bytes, e.n_tokens, e.cluster_id, e.density,
    e.length_weight, e.selection_weight, e.repeats
FROM export_rows AS e JOIN corpus AS c USING (doc_id)
WHERE e.part BETWEEN $first AND $last
