SELECT beta, documents, long_share, wasserstein FROM length_by_beta
WHERE NOT (
    documents > 0 AND mean_tokens > 0 AND long_share BETWEEN 0 AND 1 AND short_share BETWEEN 0 AND 1
    AND long_tokens_share BETWEEN 0 AND 1 AND wasserstein >= 0 AND wasserstein_to_random >= 0
)
ORDER BY beta NULLS FIRST
