SELECT text, count(DISTINCT half) AS halves FROM attribution_items GROUP BY text HAVING count(DISTINCT half) > 1
UNION ALL
SELECT item_id, count(*) FROM attribution_items GROUP BY item_id HAVING count(*) > 1
ORDER BY 1
