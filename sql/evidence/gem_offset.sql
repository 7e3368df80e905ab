-- Documents that the balance offset moves: without it they would be in another cluster. And how sure the labels are.
-- in: clusters   out: one row
SELECT
    count(*) AS documents, count(*) FILTER (generative_id != cluster_id) AS "moved by the offset",
    printf('%.2f%%', 100 * avg((generative_id != cluster_id)::INT)) AS share,
    printf('%.1f%%', 100 * avg((confidence > 0.99)::INT)) AS "confidence above .99",
    printf('%.1f%%', 100 * avg((confidence > 0.9)::INT)) AS "above .9",
    round(median(confidence), 4) AS "median confidence"
FROM clusters
