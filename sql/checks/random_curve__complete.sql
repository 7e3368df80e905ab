SELECT d.multiple, d.seed, count(c.item_id) AS items
FROM (SELECT DISTINCT multiple, seed FROM random_draws) AS d LEFT JOIN random_curve AS c USING (multiple, seed)
GROUP BY ALL
HAVING count(c.item_id) != (SELECT count(*) FROM evaluation_set)
    OR bool_or(coalesce(NOT (isfinite(c.bits) AND c.bits > 0), true))
