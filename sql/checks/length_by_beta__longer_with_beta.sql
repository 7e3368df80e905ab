SELECT beta, mean_log2_tokens, before
FROM (
    SELECT beta, mean_log2_tokens, lag(mean_log2_tokens) OVER (ORDER BY beta) AS before
    FROM length_by_beta WHERE beta IS NOT NULL
)
WHERE NOT coalesce(mean_log2_tokens >= before - 1e-9, true)
ORDER BY beta
