-- Measured losses of each mixer on the objective, against natural, beside what was predicted. Less is better.
-- in: mixing_verdict (tools/mixing.py)   out: one row per partition, run and mixer
SELECT
    partition, run, mixer,
    printf('%.4f', mean) AS "difference to natural",
    coalesce(printf('%.4f to %.4f', low, high), '') AS "95% interval",
    coalesce(printf('%.4f', predicted), '') AS predicted,
    words
FROM (SELECT *, row_number() OVER () AS place FROM mixing_verdict)
ORDER BY partition, run, place
