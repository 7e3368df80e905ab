-- Distance to the nearest neighbours per doubling of the length.
-- in: length_slopes   out: one row per encoder, reading, neighbourhood and least length
SELECT encoder, reading, neighbourhood, CASE WHEN from_tokens > 0 THEN 'from ' || from_tokens || ' tokens'
    ELSE 'all' END AS lengths,
    n_docs AS documents, round(embedded_tokens)::BIGINT AS embedded_tokens,
    printf('%+.4f (%+.4f to %+.4f)', slope, low, high) AS "slope per doubling", round(spearman, 3) AS spearman,
    round(mean_distance, 3) AS mean_distance
FROM length_slopes
