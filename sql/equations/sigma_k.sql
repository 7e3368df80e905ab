-- G2 [paper eq. 3, A20]: sigma_k = sqrt(mean ||e(x) - mu_k||^2), the spread of a cluster.
-- The centroid is the normalised sum of its members, so the mean cosine to it is ||m_k||, the length of
-- their mean (P2):
--   unit centre   mu_k = m_k / ||m_k||   sigma^2 = 2 (1 - ||m_k||)
--   mean centre   mu_k = m_k             sigma^2 = 1 - ||m_k||^2
-- Documents without a vector have no cosine. They count in n_docs and n_tokens, and not in the mean.
-- in: clusters   parameters: center   out: one row per cluster
WITH mean_length AS (
    SELECT cluster_id, count(*) AS n_docs, sum(n_tokens)::BIGINT AS n_tokens, avg(cosine) AS m
    FROM clusters
    GROUP BY cluster_id
)
SELECT
    cluster_id, n_docs, n_tokens,
    sqrt(greatest(CASE $center WHEN 'unit' THEN 2 * (1 - m) ELSE 1 - m * m END, 0)) AS sigma
FROM mean_length
ORDER BY cluster_id
