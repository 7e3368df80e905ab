-- The copies of each document, and the budget, quality and drop of its cluster. Two chains are compared by
-- documents, since clusters of two partitions cannot be paired. budget_share: the cluster's budget divided by its size.
-- in: selection_weights, budgets   out: one row per document
SELECT
    w.doc_id, w.n_tokens, w.repeats, b.quality, b.delta,
    b.allocated / CASE b.unit WHEN 'tokens' THEN b.n_tokens ELSE b.n_docs END AS budget_share
FROM selection_weights AS w JOIN budgets AS b USING (cluster_id)
ORDER BY w.doc_id
