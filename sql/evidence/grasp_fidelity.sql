-- How well scores predict the utilities of check subsets, over all targets: the choice, each source with and without its
-- usual quadratic term, and the baselines.
-- in: grasp_fidelity (tools/grasp.py)   out: one row per start and score
SELECT
    start, configuration AS "score", any_value(what) AS "what",
    max(CASE WHEN kind = 'structured' THEN printf('%.2f (%.2f to %.2f)', spearman, low, high) END) AS "structured subsets",
    max(CASE WHEN kind = 'structured' THEN coalesce(printf('%+.2f (%+.2f to %+.2f)', over_additive, over_additive_low, over_additive_high), '') END)
        AS "over its additive score",
    max(CASE WHEN kind = 'random' THEN printf('%.2f (%.2f to %.2f)', spearman, low, high) END) AS "random subsets",
    coalesce(printf('%.2f', max(CASE WHEN kind = 'structured' THEN ceiling END)), '') AS "noise ceiling",
    coalesce(printf('%.1f', any_value(seconds)), '') AS "seconds up front",
    coalesce(printf('%.1f', any_value(bytes) / 1e6), '') AS "MB kept"
FROM grasp_fidelity
WHERE target = 'mean of targets'
    AND (what <> 'configuration'
        OR regexp_matches(configuration, '^(unigram|embedding|hidden)/none/(0|1)$|^(full|blocks|head|factored)/none/(0|0.3)$'))
GROUP BY start, configuration
ORDER BY start, max(CASE WHEN kind = 'structured' THEN spearman END) DESC NULLS LAST, configuration
