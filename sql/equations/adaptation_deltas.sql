-- G5 [paper eq. 6, A1]: the drop of the loss per token, absolute and relative, averaged over seeds, with its spread.
-- in: curves (cluster_id, seed, step, loss, n_tokens, n_docs)   out: one row per cluster
WITH by_seed AS (
    SELECT
        cluster_id, seed, any_value(n_tokens) AS n_tokens, any_value(n_docs) AS n_docs,
        arg_min(loss, step) AS loss_initial, arg_max(loss, step) AS loss_final
    FROM curves
    GROUP BY cluster_id, seed
)
SELECT
    cluster_id,
    avg(loss_initial) AS loss_initial,
    avg(loss_final) AS loss_final,
    avg(loss_initial - loss_final) AS delta,
    avg((loss_initial - loss_final) / loss_initial) AS relative_delta,
    coalesce(stddev_samp(loss_initial - loss_final), 0) AS delta_spread,
    any_value(n_tokens) AS n_tokens,
    any_value(n_docs) AS n_docs
FROM by_seed
GROUP BY cluster_id
ORDER BY cluster_id
