-- How alike two trainings of the same mixtures, which differ in their seed, order these mixtures.
-- in: mixing_noise (tools/mixing.py)   out: one row per partition and set of texts; single domains together
SELECT
    partition,
    CASE WHEN target LIKE 'domain:%' THEN 'single domains (median)' ELSE target END AS "loss on",
    any_value(mixtures) AS mixtures,
    CASE
        WHEN count(*) > 1 OR any_value(low) IS NULL THEN printf('%.2f', median(spearman))
        ELSE printf('%.2f (%.2f to %.2f)', any_value(spearman), any_value(low), any_value(high))
    END AS "Spearman of two seeds",
    printf('%.4f', median(noise)) AS "SD between seeds",
    printf('%.4f', median(spread)) AS "SD between mixtures"
FROM mixing_noise
GROUP BY 1, 2
ORDER BY 1, "loss on" LIKE 'single%', "loss on" != 'over domains', 2
