-- The sampled documents in two dimensions, with the columns that decided their selection.
-- in: catalog   out: one row per document of the sample
SELECT
    m.doc_id, m.cluster_id, m.x, m.y, b.quality, b.delta, b.replay_multiplier, coalesce(s.repeats, 0) AS repeats
FROM corpus_map AS m
LEFT JOIN budgets AS b USING (cluster_id)
LEFT JOIN subset AS s USING (doc_id)
ORDER BY m.cluster_id, m.doc_id
