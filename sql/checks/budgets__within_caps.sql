SELECT cluster_id, budget, allocated, capacity FROM budgets WHERE NOT allocated BETWEEN 0 AND capacity
ORDER BY cluster_id
