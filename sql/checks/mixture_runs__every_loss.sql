SELECT mixture_id, seed, target, loss FROM mixture_losses
WHERE (failed IS NULL) != (loss IS NOT NULL) OR NOT isfinite(loss) OR loss <= 0
UNION ALL
SELECT m.mixture_id, NULL, NULL, NULL FROM (SELECT DISTINCT mixture_id FROM mixtures) AS m
ANTI JOIN mixture_losses USING (mixture_id)
ORDER BY 1, 2, 3
