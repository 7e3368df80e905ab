SELECT regressor, spearman, spearman_low, spearman_high FROM mixture_summary
WHERE method = 'regmix' AND NOT coalesce(spearman_low, 0) > 0
