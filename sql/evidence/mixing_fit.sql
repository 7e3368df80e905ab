-- How well a regression predicts the losses of mixtures that it has not seen, over splits.
-- in: mixing_fit (tools/mixing.py)   out: one row per objective, partition and regressor
SELECT
    run, partition, regressor, any_value(n_train) AS "mixtures fitted", count(*) AS splits,
    printf('%.2f (%.2f to %.2f)', median(spearman), quantile_cont(spearman, .25), quantile_cont(spearman, .75)) AS "Spearman, median (IQR)",
    printf('%.2f (%.2f to %.2f)', median(spearman_best), quantile_cont(spearman_best, .25), quantile_cont(spearman_best, .75))
        AS "among the best quarter",
    printf('%.2f', median(regret)) AS "regret, top 5 (SD)",
    printf('%.4f', median(spread)) AS "SD of the losses"
FROM mixing_fit
GROUP BY run, partition, regressor
ORDER BY run, regressor, partition
