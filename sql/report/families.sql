-- The tokens of each cluster before and after selection. A repeated document counts as often as it is repeated.
-- in: clusters, subset   out: one row per cluster; the sums are the tokens of the pool and of the subset
WITH chosen AS (SELECT cluster_id, sum(n_tokens * repeats) AS tokens FROM subset GROUP BY cluster_id)
SELECT
    k.cluster_id, count(*) AS n_docs, sum(k.n_tokens)::BIGINT AS pool,
    coalesce(any_value(c.tokens), 0)::BIGINT AS subset
FROM clusters AS k LEFT JOIN chosen AS c USING (cluster_id)
GROUP BY k.cluster_id ORDER BY k.cluster_id
