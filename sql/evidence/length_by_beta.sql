-- Lengths of what is selected, by β; random first.
-- in: length_by_beta   out: one row per β
SELECT
    coalesce(printf('%g', beta), 'random') AS "β", round(documents)::BIGINT AS documents,
        round(mean_tokens)::BIGINT AS mean_tokens,
    printf('%.1f%% (%.1f to %.1f)', 100 * long_share, 100 * long_share_low,
        100 * long_share_high) AS "of the longest fifth",
    printf('%.1f%%', 100 * short_share) AS "of the shortest fifth",
    printf('%.3f ± %.3f', wasserstein, (wasserstein_high - wasserstein_low) / 2) AS "distance to the pool, doublings"
FROM length_by_beta
ORDER BY beta NULLS FIRST
