-- Measurements and budgets of the clusters. What was drawn from them is in questions/share_by_cluster.sql.
-- in: catalog   out: one row per cluster
SELECT
    b.cluster_id, b.n_docs, b.n_tokens, b.sigma, b.quality, q.standard_error, q.n_judged,
    b.delta, a.relative_delta,
    CASE WHEN (SELECT count(DISTINCT seed) FROM loss_curves) > 1 THEN a.delta_spread END AS delta_spread,
        a.loss_initial,
    b.gate_open, b.replay_multiplier, b.tau_norm,
    b.base_budget, b.budget, b.allocated, b.capacity, b.unit,
    b.base_budget / sum(b.base_budget) OVER () AS base_share
FROM budgets AS b
LEFT JOIN cluster_quality AS q USING (cluster_id)
LEFT JOIN adaptation_deltas AS a USING (cluster_id)
ORDER BY b.cluster_id
