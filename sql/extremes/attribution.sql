-- For each target the three clusters that help most with it and the three that help least, by the mean alignment of
-- their documents, weighted by tokens.
WITH means AS (
    SELECT a.target, k.cluster_id, sum(a.alignment * k.n_tokens) / nullif(sum(k.n_tokens), 0) AS alignment
    FROM attribution AS a JOIN clusters AS k USING (doc_id) GROUP BY ALL
)
SELECT * FROM means
QUALIFY row_number() OVER (PARTITION BY target ORDER BY alignment DESC, cluster_id) <= 3
    OR row_number() OVER (PARTITION BY target ORDER BY alignment, cluster_id) <= 3
ORDER BY target, alignment DESC, cluster_id
LIMIT 24
