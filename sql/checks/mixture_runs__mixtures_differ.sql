SELECT min(mixture_id) AS one, max(mixture_id) AS other
FROM (SELECT mixture_id, list(coalesce(achieved, weight) ORDER BY domain) AS shares FROM mixtures GROUP BY mixture_id)
GROUP BY shares HAVING count(*) > 1 ORDER BY one
