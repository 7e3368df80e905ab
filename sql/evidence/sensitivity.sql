-- Rank correlation of the drops with those in force.
-- in: sensitivity   out: one row per variant
SELECT variant, proxy, n_clusters AS clusters, round(spearman, 3) AS spearman, round(low, 3) AS low,
    round(high, 3) AS high,
    round(mean_delta, 4) AS mean_drop, round(seconds)::BIGINT AS seconds
FROM sensitivity
