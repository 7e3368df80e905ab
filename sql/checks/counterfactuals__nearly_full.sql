SELECT subset_id, size, sum(n_tokens * repeats) AS tokens FROM trial_subsets
GROUP BY subset_id, size HAVING tokens < 0.9 * size
ORDER BY subset_id
