-- Each document of the pool has one alignment with each target, a cosine.
WITH counted AS (
    SELECT doc_id, count(*) AS n_rows, count(DISTINCT target) AS n_targets,
        bool_and(isfinite(alignment) AND abs(alignment) <= 1) AS cosines
    FROM attribution GROUP BY doc_id
),
wanted AS (SELECT count(*) AS n FROM attribution_aims)
SELECT doc_id, n_rows, n_targets, cosines
FROM clusters AS c FULL JOIN counted AS a USING (doc_id), wanted
WHERE c.cluster_id IS NULL OR n_rows IS DISTINCT FROM n OR n_targets IS DISTINCT FROM n OR NOT coalesce(cosines, false)
ORDER BY doc_id
