-- Which clusters does the budget favour? Shares are planned; sql/questions/share_by_cluster.sql has the drawn ones.
-- in: budgets   out: one row per cluster, largest gain first
SELECT
    cluster_id, replay_multiplier,
    capacity / sum(capacity) OVER () AS pool_share,
    allocated / sum(allocated) OVER () AS budget_share
FROM budgets
ORDER BY budget_share - pool_share DESC, cluster_id
