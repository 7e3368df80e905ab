-- Why did a greedy selection take a document, or not?
-- in: selection_weights, selection_thresholds   parameters: doc (id)   out: one row; last_gain: of the last document
-- that was taken under the same budget, of_the_cluster: whether that is the budget of its cluster
WITH scope AS (SELECT count(cluster_id) > 0 AS of_the_cluster FROM selection_thresholds),
mine AS (SELECT * FROM selection_weights WHERE doc_id = $doc),
same AS (
    SELECT w.rank, w.gain FROM selection_weights AS w, mine AS m, scope
    WHERE w.rank IS NOT NULL AND (NOT of_the_cluster OR w.cluster_id = m.cluster_id)
)
SELECT
    m.rank, m.gain, m.covered, m.alignment, of_the_cluster,
    (SELECT count(*) FROM selection_weights WHERE rank IS NOT NULL) AS taken,
    coalesce((SELECT arg_max(gain, rank) FROM same), 0.0) AS last_gain
FROM mine AS m, scope
