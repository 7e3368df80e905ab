WITH subsets AS (SELECT DISTINCT subset_id FROM trial_subsets),
     targets AS (SELECT DISTINCT target FROM attribution_items WHERE half = 'measure' AND in_pool <= 0.3)
SELECT subset_id, target, u.utility, u.failed
FROM subsets CROSS JOIN targets LEFT JOIN utilities AS u USING (subset_id, target)
WHERE (u.failed IS NULL) = (u.utility IS NULL)
   OR NOT coalesce(isfinite(u.utility) AND u.loss > 0 AND u.loss_start > 0, true)
ORDER BY subset_id, target
