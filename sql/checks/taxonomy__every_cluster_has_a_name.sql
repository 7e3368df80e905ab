SELECT coalesce(k.cluster_id, t.cluster_id) AS cluster_id, t.name, t.family, t.family_name, count(*) AS n
FROM centroids AS k FULL JOIN taxonomy AS t USING (cluster_id)
GROUP BY ALL
HAVING count(*) <> 1 OR coalesce(t.name, '') = '' OR t.family IS NULL OR coalesce(t.family_name, '') = ''
ORDER BY 1
