SELECT name, weight, natural_share FROM mixture_weights
WHERE weight < natural_share / 20
ORDER BY natural_share DESC, domain
