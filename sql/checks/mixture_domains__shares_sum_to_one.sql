SELECT sum(natural_share) AS total, min(natural_share) AS least FROM mixture_domains
HAVING abs(sum(natural_share) - 1) > 1e-9 OR min(natural_share) <= 0
