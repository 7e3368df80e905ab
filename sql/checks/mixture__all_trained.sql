SELECT DISTINCT mixture_id, seed, failed FROM mixture_losses WHERE failed IS NOT NULL ORDER BY mixture_id, seed
