SELECT subset_id, size, sum(n_tokens * repeats) AS tokens, count(*) - count(DISTINCT doc_id) AS twice
FROM trial_subsets
GROUP BY subset_id, size HAVING tokens > size OR twice > 0
ORDER BY subset_id
