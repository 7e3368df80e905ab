SELECT name, n_held_out FROM mixture_domains
WHERE 'domain:' || name NOT IN (SELECT target FROM mixture_items WHERE in_pool <= 0.3)
ORDER BY domain
