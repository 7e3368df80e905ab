-- G6, G7 [paper eq. 7, 8]: the real budget of each cluster, before caps and rounding (method/budget/allocation.py).
-- in: sigma_k, cluster_quality, adaptation_deltas (empty if not measured), shares (cluster_id, share: the base)
-- out: one row per cluster; budget sums to total
-- parameters: total (in units), unit, replay, alpha, gate, gate_quantile, quality_bound, direction, norm_weights
--   (settings/budget), delta (settings/adaptation)
WITH measured AS (
    SELECT
        s.cluster_id, s.n_docs, s.n_tokens, s.sigma, q.quality AS mean_quality,
        -- z = 0: the mean, as in the paper; otherwise a lower confidence bound
        CASE WHEN $quality_bound > 0 THEN greatest(q.quality - $quality_bound * coalesce(q.standard_error, 0), 0) ELSE q.quality END
            AS quality,
        CASE $delta WHEN 'relative' THEN a.relative_delta ELSE a.delta END AS delta,                        -- A1
        (CASE $unit WHEN 'tokens' THEN s.n_tokens ELSE s.n_docs END)::DOUBLE AS size                        -- A16
    FROM sigma_k AS s LEFT JOIN cluster_quality AS q USING (cluster_id) LEFT JOIN adaptation_deltas AS a USING (cluster_id)
),
-- G4: n_base = B share_k, whatever made the shares (method/budget/registry.py).
base AS (
    SELECT m.*, $total * s.share AS base_budget FROM measured AS m JOIN shares AS s USING (cluster_id)
),
-- The signal that replay follows; smaller means more replay. It is the drop itself (never below 0, P3), or its distance
-- to the largest drop for direction=learnable (A21), or the distance to the best quality for replay=quality (A23).
dropped AS (
    SELECT *, CASE WHEN delta IS NOT NULL THEN greatest(delta, 0) END AS loss_drop FROM base
),
signal AS (
    SELECT *,
        CASE
            WHEN $replay = 'quality' THEN max(quality) OVER () - quality
            WHEN $direction = 'learnable' THEN max(loss_drop) OVER () - loss_drop
            ELSE loss_drop
        END AS signal,
        CASE WHEN $replay = 'quality' THEN max(quality) OVER () - quality ELSE loss_drop END AS normed,
        CASE WHEN $norm_weights = 'size' THEN size ELSE 1 END AS norm_weight,
        quality > CASE                                                                                      -- A9
            WHEN $gate_quantile IS NULL THEN $gate ELSE quantile_cont(quality, coalesce($gate_quantile, 0)) OVER ()
        END AS gate_open
    FROM dropped
),
-- tau_norm = E_k[Delta] over the clusters that were measured (A8).
normed AS (
    SELECT *, sum(normed * norm_weight) OVER () / sum(norm_weight) FILTER (normed IS NOT NULL) OVER () AS tau_norm FROM signal
),
-- G6: r_k = 1 + alpha exp(-Delta_k / tau_norm) 1[Q_k > tau_th]; 1 if nothing was measured, or if the mean is not above 0.
replayed AS (
    SELECT *,
        CASE
            WHEN $replay = 'none' OR NOT gate_open OR signal IS NULL OR NOT tau_norm >= 1e-8 THEN 1
            ELSE 1 + $alpha * exp(-signal / tau_norm)
        END::DOUBLE AS replay_multiplier
    FROM normed
)
-- G7: n_k = B U_k / sum_j U_j with the utility U_k = n_base r_k.
SELECT
    cluster_id, n_docs, n_tokens, sigma, mean_quality AS quality, quality AS quality_used, delta, base_budget, gate_open, tau_norm, replay_multiplier,
    base_budget * replay_multiplier AS utility,
    $total * utility / sum(utility) OVER () AS budget
FROM replayed
ORDER BY cluster_id
