-- Which small model orders mixtures alike under two seeds, and how long its trainings took.
-- in: mixing_presets (tools/mixing.py)   out: one row per preset
SELECT
    preset,
    any_value(mixtures) FILTER (target = 'over domains') AS mixtures,
    printf('%.3f', any_value(loss)) AS "bits per byte",
    any_value(printf('%.2f', spearman)) FILTER (target = 'over domains') AS "Spearman of two seeds",
    printf('%.2f', median(spearman) FILTER (target LIKE 'domain:%')) AS "single domains (median)",
    any_value(printf('%.4f', noise)) FILTER (target = 'over domains') AS "SD between seeds",
    any_value(printf('%.4f', spread)) FILTER (target = 'over domains') AS "SD between mixtures",
    printf('%.0f', any_value(seconds)) AS seconds
FROM mixing_presets
GROUP BY preset
ORDER BY any_value(place)
