-- How long are documents, before and after selection? Each doubling has two bands.
-- in: selection_weights   out: one row per band
SELECT
    floor(2 * log2(greatest(n_tokens, 1)))::INTEGER AS band,
    round(2 ** (band / 2)) AS from_tokens,
    count(*) AS n_pool,
    count(*) FILTER (repeats > 0) AS n_selected,
    sum(n_tokens)::BIGINT AS tokens_pool,
    coalesce(sum(n_tokens * repeats), 0)::BIGINT AS tokens_selected
FROM selection_weights GROUP BY ALL ORDER BY band
