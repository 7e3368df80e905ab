-- Which documents say best what a cluster is about? Those of most influence. Without the table influence,
-- sql/report/representatives.sql takes the nearest to the centre.
-- in: influence   parameters: most, shown (clusters; NULL: all)   out: at most that many rows per cluster, best first
SELECT cluster_id, doc_id FROM influence
WHERE rank <= $most AND ($shown IS NULL OR cluster_id IN (SELECT unnest($shown::INTEGER[])))
ORDER BY cluster_id, rank, doc_id
