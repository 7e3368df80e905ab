SELECT largest_weight, effective_domains, natural_domains FROM mixture_summary
WHERE largest_weight > 0.9 OR (effective_domains < 2 AND natural_domains >= 2)
