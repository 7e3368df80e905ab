-- All that is known of a cluster, before and after selection.
-- in: catalog   out: one row a cluster, largest gain of share first
WITH drawn AS (
    SELECT cluster_id, count(*) AS n_selected, sum(n_tokens * repeats)::BIGINT AS tokens_selected FROM subset GROUP BY cluster_id
)
SELECT
    b.cluster_id, b.n_docs, b.n_tokens, b.sigma, b.quality, q.standard_error, q.n_judged,
    b.delta, a.relative_delta,
    CASE WHEN (SELECT count(DISTINCT seed) FROM loss_curves) > 1 THEN a.delta_spread END AS delta_spread, a.loss_initial, b.gate_open, b.replay_multiplier, b.tau_norm,
    b.base_budget, b.budget, b.allocated, b.capacity, b.unit,
    b.base_budget / sum(b.base_budget) OVER () AS base_share,
    b.capacity / sum(b.capacity) OVER () AS pool_share,
    b.allocated / sum(b.allocated) OVER () AS budget_share,
    budget_share / pool_share AS ratio,
    coalesce(d.n_selected, 0) AS n_selected,
    coalesce(d.tokens_selected, 0)::BIGINT AS tokens_selected,
    coalesce(d.n_selected, 0) / b.n_docs AS share_selected
FROM budgets AS b
LEFT JOIN cluster_quality AS q USING (cluster_id)
LEFT JOIN adaptation_deltas AS a USING (cluster_id)
LEFT JOIN drawn AS d USING (cluster_id)
ORDER BY budget_share - pool_share DESC, b.cluster_id
