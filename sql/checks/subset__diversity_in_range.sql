-- Stored vectors are rounded. So a single point may be a little below 0, and a balanced pair a little above 2.
WITH counted AS (
    SELECT cluster_id, count(*) AS n_docs, count(*) FILTER (repeats > 0) AS n_selected
    FROM selection_weights
    GROUP BY ROLLUP (cluster_id)
)
SELECT d.*, c.n_docs AS docs_weighed, c.n_selected AS docs_drawn
FROM diversity AS d FULL JOIN counted AS c ON d.cluster_id IS NOT DISTINCT FROM c.cluster_id
WHERE d.n_docs IS DISTINCT FROM c.n_docs OR d.n_selected IS DISTINCT FROM c.n_selected
    OR NOT (corpus BETWEEN -0.01 AND 2.01 AND coalesce(subset, 0) BETWEEN -0.01 AND 2.01
        AND coalesce(random, 0) BETWEEN -0.01 AND 2.01)
ORDER BY cluster_id
