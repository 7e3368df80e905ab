WITH ranked AS (
    SELECT cluster_id, count(*) AS n, count(DISTINCT rank) AS ranks, min(rank) AS lowest, max(rank) AS highest,
        count(*) FILTER (NOT (isfinite(influence) AND isfinite(log_gamma) AND isfinite(log_density) AND isfinite(log_rho)))
            AS not_finite,
        count(*) FILTER (log_gamma > 0 OR log_rho > 1e-6) AS positive
    FROM influence GROUP BY cluster_id
)
SELECT * FROM ranked WHERE n <> ranks OR lowest <> 1 OR highest <> n OR not_finite > 0 OR positive > 0
ORDER BY cluster_id
