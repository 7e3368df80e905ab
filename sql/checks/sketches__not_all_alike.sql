SELECT source, count(*) AS documents, min(norm) AS smallest, max(norm) AS largest
FROM sketches
GROUP BY source
HAVING count(*) > 1 AND min(norm) = max(norm) AND source NOT IN ('embedding', 'column')
ORDER BY source
