-- The most common languages of each cluster.
-- in: catalog   parameters: most   out: at most that many rows per cluster
WITH counted AS (
    SELECT k.cluster_id, coalesce(c.language, 'unknown') AS language, count(*) AS n
    FROM clusters AS k JOIN corpus AS c USING (doc_id) GROUP BY 1, 2
)
SELECT *, n / sum(n) OVER (PARTITION BY cluster_id) AS share FROM counted
QUALIFY row_number() OVER (PARTITION BY cluster_id ORDER BY n DESC, language) <= $most
ORDER BY cluster_id, n DESC, language
