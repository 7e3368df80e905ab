SELECT variant, spearman, low, high, mean_delta FROM sensitivity
WHERE NOT (
    coalesce(abs(spearman) <= 1 + 1e-9, true) AND coalesce(low <= high, true)
    AND coalesce(isfinite(mean_delta), false) AND n_clusters > 0 AND seconds >= 0
)
ORDER BY variant
