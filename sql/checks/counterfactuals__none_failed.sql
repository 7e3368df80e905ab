SELECT DISTINCT subset_id, seed, failed FROM utilities WHERE failed IS NOT NULL
ORDER BY subset_id, seed
