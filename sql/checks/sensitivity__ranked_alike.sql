SELECT variant, spearman, low, high FROM sensitivity WHERE NOT coalesce(spearman >= 0.5, true) ORDER BY spearman
