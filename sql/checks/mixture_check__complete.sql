SELECT mixer, seed, target FROM mixture_check
WHERE (loss IS NULL) = (failed IS NULL) OR NOT coalesce(loss, 1) > 0
UNION ALL SELECT 'all', NULL, NULL WHERE (SELECT count(loss) FROM mixture_check) = 0
ORDER BY ALL
