-- The best aligned documents that greedy did not take, each with the nearest one that it took.
-- in: redundancy, greedy_changes   parameters: most   out: one row per document, the best aligned first
SELECT r.doc_id, r.place, c.cluster_id, c.alignment, c.covered, c.gain, r.nearest, r.similarity, r.rank
FROM redundancy AS r JOIN greedy_changes AS c USING (doc_id)
WHERE r.number = 1 ORDER BY r.place LIMIT $most
