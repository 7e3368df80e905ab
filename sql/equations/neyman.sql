-- G4 [paper eq. 5]: the share of each cluster in the base budget, by Neyman's capacity (method/budget/neyman.py).
-- in: sigma_k, cluster_quality   out: one row per cluster; share sums to 1
-- parameters: unit, tau, temperature, use_sigma, use_quality, quality_scale, quality_bound (settings/budget)
WITH measured AS (
    SELECT
        s.cluster_id, s.sigma,
        -- z = 0: the mean, as in the paper; otherwise a lower confidence bound
        CASE
            WHEN $quality_bound > 0 THEN greatest(q.quality - $quality_bound * coalesce(q.standard_error, 0), 0)
            ELSE q.quality
        END AS quality,
        (CASE $unit WHEN 'tokens' THEN s.n_tokens ELSE s.n_docs END)::DOUBLE AS size                        -- A16
    FROM sigma_k AS s LEFT JOIN cluster_quality AS q USING (cluster_id)
    ORDER BY s.cluster_id
),
scaled AS (
    SELECT *,
        CASE $quality_scale                                                                                 -- A10
            WHEN 'raw' THEN 10 * quality
            WHEN 'zscore' THEN (quality - avg(quality) OVER ()) / coalesce(nullif(stddev_pop(quality) OVER (), 0), 1)
            ELSE quality
        END AS q
    FROM measured
),
-- G4: share = w_k / sum_j w_j with w_k = (N_k sigma_k)^tau exp(Q_k / T). The largest Q is subtracted in the exponent: it
-- cancels, and a small T cannot overflow.
weighted AS (
    SELECT *,
        (size * CASE WHEN $use_sigma THEN sigma ELSE 1 END) ** $tau
            * CASE WHEN $use_quality THEN exp((q - max(q) OVER ()) / $temperature) ELSE 1 END AS weight
    FROM scaled
)
SELECT
    cluster_id,
    CASE WHEN sum(weight) OVER () > 0 THEN coalesce(weight, 0) / sum(weight) OVER () ELSE size / sum(size) OVER () END AS share
FROM weighted  -- a cluster of kept documents only is not judged: its weight is null
ORDER BY cluster_id
