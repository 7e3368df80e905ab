SELECT mixture_id, seed, any_value(failed) AS failed FROM mixture_losses WHERE failed IS NOT NULL
GROUP BY mixture_id, seed ORDER BY mixture_id, seed
