-- Why did a greedy selection take a document, or not?
-- in: selection_weights, selection_thresholds   parameters: doc (id)   out: one row; end_gain: of the document with which
-- 99% of the budget's tokens were taken (those after it only fill the rest), of_the_cluster: whether that budget is the
-- cluster's
WITH scope AS (SELECT count(cluster_id) > 0 AS of_the_cluster FROM selection_thresholds),
mine AS (SELECT * FROM selection_weights WHERE doc_id = $doc),
same AS (
    SELECT w.rank, w.gain, sum(w.n_tokens) OVER (ORDER BY w.rank) AS tokens, sum(w.n_tokens) OVER () AS whole
    FROM selection_weights AS w, mine AS m, scope
    WHERE w.rank IS NOT NULL AND (NOT of_the_cluster OR w.cluster_id = m.cluster_id)
)
SELECT
    m.rank, m.gain, m.covered, m.alignment, of_the_cluster,
    (SELECT count(*) FROM selection_weights WHERE rank IS NOT NULL) AS taken,
    (SELECT arg_min(gain, rank) FROM same WHERE tokens >= 0.99 * whole) AS end_gain
FROM mine AS m, scope
