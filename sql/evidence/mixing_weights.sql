-- The domains whose weights a run moved most, by the absolute difference to the natural share.
-- in: mixing_weights (tools/mixing.py)   out: five rows per partition and run
SELECT
    partition, run, called AS domain,
    printf('%.1f%%', 100 * natural_share) AS natural,
    printf('%.1f%%', 100 * weight) AS weight,
    coalesce(printf('%.1f%% to %.1f%%', 100 * low, 100 * high), '') AS "95% interval",
    CASE WHEN low > natural_share THEN 'up' WHEN high < natural_share THEN 'down' ELSE '' END AS "beyond the interval"
FROM (SELECT *, row_number() OVER (PARTITION BY partition, run ORDER BY abs(weight - natural_share) DESC, called) AS place
      FROM mixing_weights)
WHERE place <= 5
ORDER BY partition, run, place
