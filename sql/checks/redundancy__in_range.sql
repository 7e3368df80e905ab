-- Cosines are from -1 to 1, and documents that were left out have no rank.
-- in: redundancy, greedy_changes   out: violations
SELECT doc_id FROM redundancy WHERE similarity NOT BETWEEN -1.000001 AND 1.000001
UNION ALL
SELECT doc_id FROM greedy_changes WHERE (change = 'left out') <> (rank IS NULL)
