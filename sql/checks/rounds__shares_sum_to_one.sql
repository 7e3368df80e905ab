SELECT round, sum(budget_share) AS share FROM rounds GROUP BY round HAVING abs(share - 1) > 1e-9
