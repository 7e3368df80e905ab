-- Quantiles of the length, before and after selection.
-- in: selection_weights   out: two rows
SELECT
    part, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens, avg(n_tokens) AS mean,
    quantile_disc(n_tokens, 0.1) AS q10, quantile_disc(n_tokens, 0.5) AS q50, quantile_disc(n_tokens, 0.9) AS q90,
    quantile_disc(n_tokens, 0.99) AS q99
FROM (
    SELECT 'corpus' AS part, n_tokens FROM selection_weights
    UNION ALL SELECT 'subset' AS part, n_tokens FROM selection_weights WHERE repeats > 0
)
GROUP BY part ORDER BY part
