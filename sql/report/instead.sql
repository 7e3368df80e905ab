-- The documents that greedy took although others are better aligned, in the order in which it took them.
-- in: greedy_changes   parameters: most   out: one row per document
SELECT doc_id, cluster_id, n_tokens, place, alignment, rank, gain, covered FROM greedy_changes
WHERE change = 'taken instead' ORDER BY rank LIMIT $most
