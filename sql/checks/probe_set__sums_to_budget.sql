-- A cluster of nothing but kept documents has no probe, and no row in `drawn`.
WITH drawn AS (SELECT cluster_id, count(*) AS n, count(DISTINCT doc_id) AS n_distinct FROM probe_set
    GROUP BY cluster_id)
SELECT coalesce(a.cluster_id, d.cluster_id) AS cluster_id, a.n_probe, d.n
FROM probe_allocation AS a FULL JOIN drawn AS d USING (cluster_id)
WHERE coalesce(a.n_probe, 0) <> coalesce(d.n, 0) OR d.n <> d.n_distinct
ORDER BY 1
