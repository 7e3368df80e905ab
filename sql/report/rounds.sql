-- Share of the budget by round, for the clusters whose share moved most.
-- in: rounds   parameters: most   out: one row per round and cluster
WITH moved AS (
    SELECT cluster_id, max(budget_share) - min(budget_share) AS movement FROM rounds GROUP BY cluster_id
    ORDER BY movement DESC, cluster_id LIMIT $most
)
SELECT r.*, m.movement FROM rounds AS r JOIN moved AS m USING (cluster_id) ORDER BY m.movement DESC,
    r.cluster_id, r.round
