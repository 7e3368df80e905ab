SELECT 'cluster' AS what, lower(name) AS name, count(*) AS n FROM taxonomy GROUP BY ALL HAVING count(*) > 1
UNION ALL
SELECT 'family', lower(family_name), count(DISTINCT family) FROM taxonomy GROUP BY ALL HAVING count(DISTINCT family) > 1
ORDER BY 1, 2
