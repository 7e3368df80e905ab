SELECT strategy, seed, count(item_id) AS items FROM closed_loop
GROUP BY ALL
HAVING count(item_id) != (SELECT count(*) FROM evaluation_set)
    OR bool_or(coalesce(NOT (isfinite(bits) AND bits > 0), true))
