-- In every cluster, the drawn amount differs from the granted one by at most the longest document that fits. If less is
-- granted than the cluster's budget, every document that fits is taken, and none that is left fits into the unused rest
-- of the whole budget. A draw in documents is exact. A draw in tokens is, as a whole, within one document.
-- A selection without budgets for clusters has one row of thresholds, without a cluster. It is checked as a cluster is.
-- If that row is the sum of several budgets (exhausted is NULL), only the whole is checked.
-- (A column of a table wins over an alias of the same name. So no alias is called left_out, as in the thresholds.)
WITH documents AS (
    SELECT
        t.cluster_id, w.n_tokens, w.repeats, b.unit, t.allocated, t.granted, t.drawn, t.exhausted,
        CASE b.unit WHEN 'tokens' THEN w.n_tokens ELSE 1 END AS cost,
        w.n_tokens > coalesce(t.max_tokens, w.n_tokens) AS too_long,
        cost <= greatest(t.allocated, t.granted) AND NOT too_long AS fits
    FROM selection_weights AS w JOIN budgets AS b USING (cluster_id)
    JOIN selection_thresholds AS t ON t.cluster_id = w.cluster_id OR t.cluster_id IS NULL
    WHERE w.role IS DISTINCT FROM 'keep'  -- the background is in no budget
),
whole AS (SELECT sum(allocated) - sum(granted) AS unused, sum(granted) - sum(drawn) AS rest FROM selection_thresholds),
by_cluster AS (
    SELECT
        cluster_id, any_value(unit) AS unit, any_value(allocated) AS allocated, any_value(granted) AS granted,
        any_value(drawn) AS drawn, bool_or(exhausted) AS exhausted, sum(cost * repeats)::BIGINT AS counted,
        coalesce(max(cost) FILTER (fits), 0) AS longest,
        count(*) FILTER (fits AND repeats = 0) AS missed,
        count(*) FILTER (too_long AND repeats > 0) AS wrongly_in,
        min(cost) FILTER (repeats = 0 AND cost > 0 AND NOT too_long) AS next
    FROM documents GROUP BY cluster_id
),
violations AS (
    SELECT
        c.cluster_id, c.allocated, c.granted, c.drawn, c.counted,
        CASE
            WHEN counted <> drawn THEN 'the table says another amount'
            WHEN unit = 'documents' AND drawn <> granted THEN 'not as many documents as granted'
            WHEN exhausted IS NULL THEN NULL
            WHEN abs(drawn - granted) > longest THEN 'more than a document off'
            WHEN granted < allocated AND NOT exhausted THEN 'less granted than can be used'
            WHEN exhausted AND missed > 0 THEN 'exhausted, and a document that fits is not taken'
            WHEN wrongly_in > 0 THEN 'longer than max_tokens and taken'
            WHEN unused > 0 AND next - granted <= unused THEN 'a document that fits into the rest is not taken'
        END AS wrong
    FROM by_cluster AS c, whole
)
SELECT * FROM violations WHERE wrong IS NOT NULL
UNION ALL
SELECT NULL, NULL, NULL, rest, unused, 'the whole is more than a document off' FROM whole
WHERE unused < 0 OR abs(rest) > (SELECT max(cost) FROM documents WHERE NOT too_long)
ORDER BY cluster_id
