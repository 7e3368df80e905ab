SELECT target FROM attribution_items
GROUP BY target HAVING count(DISTINCT half) FILTER (WHERE in_pool <= 0.3) < 2
ORDER BY target
