-- Correlations are from -1 to 1. The interval of a bootstrap may leave out a value of few subsets, so only its order counts.
SELECT configuration, target, kind, size, spearman, low, high, ceiling
FROM attribution_fidelity
WHERE abs(spearman) > 1 + 1e-9 OR low > high OR low < -1 - 1e-9 OR high > 1 + 1e-9 OR abs(ceiling) > 1 + 1e-9
    OR seconds < 0 OR n < 0
UNION ALL
SELECT configuration, NULL, NULL, NULL, mean, lower_bound, upper_bound, NULL
FROM attribution_choice
WHERE abs(mean) > 1 + 1e-9 OR lower_bound > upper_bound
ORDER BY configuration, target, kind, size
