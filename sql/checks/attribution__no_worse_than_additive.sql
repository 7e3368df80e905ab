-- The quadratic term does not make the chosen configuration measurably worse.
SELECT configuration, target, kind, size, over_additive, over_additive_high
FROM attribution_fidelity
WHERE what = 'chosen' AND over_additive_high < 0
    AND (target = 'mean of targets' OR (SELECT count(DISTINCT target) FROM attribution_fidelity) = 1)
ORDER BY kind, size
