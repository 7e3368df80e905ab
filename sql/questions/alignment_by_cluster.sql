-- Which clusters are aligned with the targets, and what did the selection take of them? Alignments are means over the
-- documents of a cluster, weighted by tokens. Shares are of tokens, and copies count.
-- in: attribution, selection_weights   out: one row per cluster and target, the best aligned cluster of a target first
WITH clusters AS (
    SELECT
        cluster_id, sum(n_tokens) / sum(sum(n_tokens)) OVER () AS pool_share,
        sum(n_tokens * repeats) / sum(sum(n_tokens * repeats)) OVER () AS subset_share
    FROM selection_weights GROUP BY cluster_id
),
aligned AS (
    SELECT a.target, w.cluster_id, sum(a.alignment * w.n_tokens) / nullif(sum(w.n_tokens), 0) AS alignment
    FROM attribution AS a JOIN selection_weights AS w USING (doc_id) GROUP BY a.target, w.cluster_id
)
SELECT a.target, a.cluster_id, a.alignment, c.pool_share, c.subset_share
FROM aligned AS a JOIN clusters AS c USING (cluster_id)
ORDER BY a.target, a.alignment DESC, a.cluster_id
