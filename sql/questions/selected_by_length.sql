-- How does the chance to be selected depend on length? Bands double in width.
-- in: selection_weights   out: one row per band
SELECT
    2 ** floor(log2(greatest(n_tokens, 1)))::BIGINT AS from_tokens,
    count(*) AS n_pool,
    count(*) FILTER (repeats > 0) AS n_selected
FROM selection_weights
GROUP BY 1 ORDER BY 1
