SELECT gain, gain_low, gain_high FROM mixture_summary
WHERE method = 'regmix' AND (NOT coalesce(gain_low, gain) > 0 OR NOT coalesce(spearman_low, 0) > 0)
