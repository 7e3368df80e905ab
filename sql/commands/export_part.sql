-- The rows of part $part of an export in their order, with all columns but the text.
-- `rank`, `gain`, `covered`, `alignment`: why a greedy selection took it; null for others.
-- `repeats`: how often to train on each. `kept`: the user's own columns as JSON.
-- in: export_rows   out: one row per row of the export
SELECT
    doc_id, language, source, n_bytes, n_tokens, cluster_id, density, length_weight, selection_weight,
    rank, gain, covered, alignment, repeats, kept
FROM export_rows WHERE part = $part ORDER BY position
