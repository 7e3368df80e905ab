-- How often the cluster of a held-out document is found from names alone, by what the names were made from.
-- in: name_accuracy   out: one row per kind of representatives
SELECT
    representatives, asked AS "asked by", n AS documents,
    printf('%.1f%% (%.1f to %.1f)', 100 * accuracy, 100 * low, 100 * high) AS accuracy,
    printf('%.1f%%', 100 * chance) AS chance,
    coalesce(printf('%+.1f (%+.1f to %+.1f)', 100 * to_random, 100 * to_random_low, 100 * to_random_high), '')
        AS "points above random"
FROM name_accuracy
