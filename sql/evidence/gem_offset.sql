-- Documents that the balance offset moves: their label differs from the label without the offset.
-- in: clusters, centroids   out: one row
SELECT
    count(*) AS documents, count(*) FILTER (k.generative_id != c.component) AS "other label without the offset",
    printf('%.2f%%', 100 * avg((k.generative_id != c.component)::INT)) AS share,
    printf('%.1f%%', 100 * avg((k.confidence > 0.99)::INT)) AS "confidence above .99",
    printf('%.1f%%', 100 * avg((k.confidence > 0.9)::INT)) AS "above .9",
    round(median(k.confidence), 4) AS "median confidence"
FROM clusters AS k JOIN centroids AS c USING (cluster_id)
