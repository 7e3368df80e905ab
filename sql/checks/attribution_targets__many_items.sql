SELECT target, count(*) FILTER (WHERE half = 'measure' AND in_pool <= 0.3) AS items FROM attribution_items
GROUP BY target HAVING items < 20
ORDER BY target
