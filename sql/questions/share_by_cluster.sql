-- Which clusters gained and lost share, and why? Shares are of tokens or documents, whichever the budget counts.
-- subset_share is what was drawn; budget_share is what was planned.
-- in: budgets, subset   out: one row per cluster, largest gain first
WITH drawn AS (
    SELECT cluster_id, sum(repeats) AS documents, sum(n_tokens * repeats) AS tokens, count(*) AS n_selected
    FROM subset GROUP BY cluster_id
)
SELECT
    b.cluster_id, b.n_docs, b.n_tokens, b.sigma, b.quality, b.delta, b.replay_multiplier, b.capacity, b.allocated,
    coalesce(d.n_selected, 0) AS n_selected,
    coalesce(CASE b.unit WHEN 'tokens' THEN d.tokens ELSE d.documents END, 0)::BIGINT AS drawn,
    CASE b.unit WHEN 'tokens' THEN b.n_tokens ELSE b.n_docs END AS size,
    size / sum(size) OVER () AS pool_share,
    b.allocated / sum(b.allocated) OVER () AS budget_share,
    coalesce(drawn / nullif(sum(drawn) OVER (), 0), 0) AS subset_share,
    subset_share - pool_share AS gain,
    subset_share / pool_share AS ratio
FROM budgets AS b LEFT JOIN drawn AS d USING (cluster_id)
ORDER BY gain DESC, b.cluster_id
