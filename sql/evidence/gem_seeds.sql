-- Fits of the same K under several seeds: mean and half of the 95% interval; the difference to k-means, seed by seed.
-- in: gem_seeds (tools/gem.py)   out: one row per fit
SELECT
    fit, any_value(seeds) AS seeds,
    any_value(printf('%.3f ± %.3f', value, (high - low) / 2)) FILTER (measure = 'nmi_language') AS "NMI with language",
    any_value(printf('%+.3f ± %.3f', difference, (difference_high - difference_low) / 2)) FILTER (
        measure = 'nmi_language') AS "language, minus k-means",
    any_value(printf('%.3f ± %.3f', value, (high - low) / 2)) FILTER (measure = 'nmi_package') AS "NMI with package",
    any_value(printf('%+.3f ± %.3f', difference, (difference_high - difference_low) / 2)) FILTER (
        measure = 'nmi_package') AS "package, minus k-means",
    any_value(printf('%.1f', value)) FILTER (measure = 'effective') AS "effective clusters",
    any_value(printf('%.1f%%', 100 * value)) FILTER (measure = 'largest') AS "largest",
    any_value(printf('%.2f', value)) FILTER (measure = 'smallest') AS "smallest × K",
    any_value(printf('%.4f', value)) FILTER (measure = 'mean_cosine') AS "mean cosine",
    coalesce(any_value(printf('%.0f%%', 100 * value)) FILTER (measure = 'sure' AND fit != 'k-means'), '') AS "confidence above .99",
    any_value(printf('%.1f', value)) FILTER (measure = 'seconds') AS "processor seconds"
FROM (SELECT *, row_number() OVER () AS place FROM gem_seeds)
GROUP BY fit
ORDER BY min(place)
