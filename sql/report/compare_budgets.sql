-- The budgets of two runs, cluster by cluster.
-- in: first, second (tables budgets of the same clusters)   out: one row per cluster, largest change first
SELECT
    f.cluster_id, f.allocated AS first, s.allocated AS second, s.allocated - f.allocated AS change,
    f.allocated / sum(f.allocated) OVER () AS share_first, s.allocated / sum(s.allocated) OVER () AS share_second
FROM first AS f JOIN second AS s USING (cluster_id)
ORDER BY abs(share_second - share_first) DESC, f.cluster_id
