-- The documents nearest to the centre of each cluster.
-- in: clusters   parameters: most, shown (clusters; NULL: all)   out: at most that many rows per cluster
SELECT cluster_id, doc_id, cosine FROM clusters
WHERE cosine IS NOT NULL AND ($shown IS NULL OR cluster_id IN (SELECT unnest($shown::INTEGER[])))
QUALIFY row_number() OVER (PARTITION BY cluster_id ORDER BY cosine DESC, doc_id) <= $most
ORDER BY cluster_id, cosine DESC, doc_id
