-- G3 [paper eq. 4]: n_probe proportional to N_k sigma_k (N_k in documents, A16), before floors, caps and rounding.
-- If no cluster has any spread, proportional to N_k.
-- in: sigma_k   parameters: total   out: one row per cluster; target sums to total
WITH weighted AS (
    SELECT *, CASE WHEN sum(n_docs * sigma) OVER () > 0 THEN n_docs * sigma ELSE n_docs END AS weight FROM sigma_k
)
SELECT cluster_id, n_docs, sigma, $total * weight / sum(weight) OVER () AS target
FROM weighted
ORDER BY cluster_id
