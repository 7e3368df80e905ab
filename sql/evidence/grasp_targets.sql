-- Fidelity by target: the chosen score, and those of one source each.
-- in: grasp_fidelity (tools/grasp.py)   out: one row per start, target and score
SELECT
    start, target, configuration AS "score",
    max(CASE WHEN kind = 'structured' THEN printf('%.2f (%.2f to %.2f)', spearman, low, high) END) AS "structured subsets",
    max(CASE WHEN kind = 'random' THEN printf('%.2f (%.2f to %.2f)', spearman, low, high) END) AS "random subsets",
    coalesce(printf('%.2f', max(CASE WHEN kind = 'structured' THEN ceiling END)), '') AS "noise ceiling"
FROM grasp_fidelity
WHERE target <> 'mean of targets'
    AND (what = 'chosen' OR configuration IN ('unigram/none/0', 'unigram/none/1', 'full/none/0', 'full/none/0.3', 'unigram_ce', 'dsir'))
GROUP BY start, target, configuration
ORDER BY start, target, max(CASE WHEN kind = 'structured' THEN spearman END) DESC NULLS LAST, configuration
