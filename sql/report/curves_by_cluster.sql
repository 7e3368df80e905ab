-- Loss by step of each cluster; seeds are averaged.
-- in: loss_curves   out: one row per cluster and step
SELECT cluster_id, step, avg(loss) AS loss FROM loss_curves GROUP BY ALL ORDER BY cluster_id, step
