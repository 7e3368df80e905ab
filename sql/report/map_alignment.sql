-- Alignment of the sampled documents of the map with each target.
-- in: catalog   out: one row per document of the sample and target
SELECT a.target, m.doc_id, a.alignment FROM corpus_map AS m JOIN attribution AS a USING (doc_id)
ORDER BY a.target, m.doc_id
