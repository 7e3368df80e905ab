-- One configuration is chosen, and the targets are scored by it.
WITH chosen AS (SELECT * FROM attribution_choice WHERE chosen)
SELECT (SELECT count(*) FROM chosen) AS chosen, target, source, gamma
FROM attribution_aims AS a
WHERE (SELECT count(*) FROM chosen) <> 1
    OR NOT EXISTS (FROM chosen AS c WHERE c.source = a.source AND c.gamma = a.gamma)
    OR NOT isfinite(a.scale) OR a.weight < 0
ORDER BY target
