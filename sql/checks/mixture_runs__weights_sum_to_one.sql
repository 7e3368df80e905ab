SELECT mixture_id AS id, NULL AS step, sum(weight) AS total FROM mixtures
GROUP BY mixture_id HAVING abs(sum(weight) - 1) > 1e-6 OR min(weight) < 0
UNION ALL
SELECT seed, step, sum(weight) FROM mixture_steps
GROUP BY seed, step HAVING abs(sum(weight) - 1) > 1e-6 OR min(weight) < 0
ORDER BY id, step
