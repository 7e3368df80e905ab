-- Correlation of quality and drop over clusters.
-- in: quality_correlation   out: one row per variant
SELECT variant, n AS clusters, round(pearson, 3) AS pearson, round(pearson_low, 3) AS low,
    round(pearson_high, 3) AS high,
    round(spearman, 3) AS spearman
FROM quality_correlation
