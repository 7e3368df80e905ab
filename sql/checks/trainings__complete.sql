SELECT s.strategy, s.seed, count(t.item_id) AS items
FROM (SELECT DISTINCT strategy, seed FROM strategies) AS s LEFT JOIN trainings AS t USING (strategy, seed)
GROUP BY ALL
HAVING count(t.item_id) != (SELECT count(*) FROM evaluation_set)
    OR bool_or(coalesce(NOT (isfinite(t.bits) AND t.bits > 0), true))
