-- What is compared between two chains: of each document how often it is taken, and what is said of its
-- cluster. Clusters
-- of two clusterings cannot be paired; documents can. budget_share: budget of a cluster per unit that it has.
-- in: selection_weights, budgets   out: one row a document
SELECT
    w.doc_id, w.n_tokens, w.repeats, b.quality, b.delta,
    b.allocated / CASE b.unit WHEN 'tokens' THEN b.n_tokens ELSE b.n_docs END AS budget_share
FROM selection_weights AS w JOIN budgets AS b USING (cluster_id)
ORDER BY w.doc_id
