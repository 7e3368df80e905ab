-- The document-intruder test: all clusters, weighted by their documents, and the clusters found least and most often.
-- in: intruders   out: one row
SELECT
    judged_by, count(*) AS clusters, sum(trials) AS trials,
    printf('%.1f%%', 100 * sum(accuracy * n_docs) / sum(n_docs)) AS "found, by documents",
    printf('%.1f%%', 100 * sum(found) / sum(trials)) AS "found, by trials",
    printf('%.0f%% (%d)', 100 * min(accuracy), arg_min(cluster_id, (accuracy, cluster_id))) AS "least (cluster)",
    count(*) FILTER (low > 1 / 6) AS "clusters above chance"
FROM intruders
GROUP BY judged_by
ORDER BY judged_by
