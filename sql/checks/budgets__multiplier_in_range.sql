SELECT cluster_id, replay_multiplier FROM budgets
WHERE NOT replay_multiplier BETWEEN 1 AND 1 + (SELECT value::DOUBLE FROM settings WHERE "group" = 'budget'
    AND name = 'alpha')
ORDER BY cluster_id
