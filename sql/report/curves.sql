-- Loss by step: the median of the clusters, and the range of their middle 80%. Seeds are averaged first.
-- in: loss_curves   out: one row per step
WITH by_cluster AS (SELECT cluster_id, step, avg(loss) AS loss FROM loss_curves GROUP BY ALL)
SELECT
    step, count(*) AS clusters, median(loss) AS middle, quantile_cont(loss, 0.1) AS low,
        quantile_cont(loss, 0.9) AS high
FROM by_cluster GROUP BY step ORDER BY step
