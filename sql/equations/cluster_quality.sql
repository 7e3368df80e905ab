-- Q_k [A10, A11]: mean score of the judged probe documents of a cluster, from 0 to 1, pulled towards the overall mean by
-- as many pseudo-documents as the shrinkage. A cluster without judged documents has the overall mean.
-- standard_error: s / sqrt(n). With one judged document, s is the pooled one inside the other clusters; with none, that
-- of all documents. score_variance: for planning further documents [A28]. It is the larger of s² and of s² pulled
-- towards the pooled variance by four pseudo-documents, since a few equal scores do not prove that there is no spread.
-- in: quality_scores, probe_allocation   parameters: shrinkage, min_judged   out: one row per cluster
WITH judged AS (SELECT cluster_id, score FROM quality_scores WHERE status = 'ok'),
overall AS (SELECT avg(score) AS mean, stddev_samp(score) AS s FROM judged),
by_cluster AS (
    SELECT cluster_id, avg(score) AS mean, var_samp(score) AS variance, count(*) AS n_judged FROM judged
    GROUP BY cluster_id
),
pooled AS (
    SELECT sum((n_judged - 1) * variance) / nullif(sum(n_judged - 1), 0) AS variance FROM by_cluster WHERE n_judged > 1
),
asked AS (SELECT cluster_id, count(*) AS n_asked FROM quality_scores GROUP BY cluster_id)
SELECT
    p.cluster_id,
    CASE
        WHEN coalesce(n_judged, 0) + $shrinkage = 0 THEN overall.mean
        ELSE (coalesce(n_judged * b.mean, 0) + $shrinkage * overall.mean) / (coalesce(n_judged, 0) + $shrinkage)
    END AS quality,
    CASE
        WHEN n_judged > 1 THEN sqrt(b.variance / n_judged)
        WHEN n_judged = 1 THEN sqrt(pooled.variance)
        ELSE overall.s
    END AS standard_error,
    coalesce(n_judged, 0) AS n_judged,
    b.mean AS mean_score,
    coalesce(n_asked, 0) AS n_asked,
    greatest(
        b.variance, ((n_judged - 1) * coalesce(b.variance, 0) + 4 * pooled.variance) / (n_judged + 3),
            pooled.variance * (n_judged IS NULL)::INT
    ) AS score_variance,
    CASE WHEN coalesce(n_judged, 0) < $min_judged THEN 'too few judged' ELSE 'ok' END AS status
FROM probe_allocation AS p LEFT JOIN by_cluster AS b USING (cluster_id) LEFT JOIN asked USING (cluster_id),
    overall, pooled
ORDER BY p.cluster_id
