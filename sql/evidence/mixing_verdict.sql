-- Measured losses of each mixer on the objective, against natural, beside what was predicted. Less is better.
-- Mixers that cost nothing are the same in all runs with one objective, so they have one row for these.
-- in: mixing_verdict (tools/mixing.py)   out: one row per partition, objective and mixer; found: per run
SELECT
    partition,
    CASE WHEN starts_with(any_value(run), 'RegMix for') THEN 'the target' ELSE 'all domains' END AS "loss on",
    CASE WHEN mixer = 'found' THEN any_value(run) ELSE mixer END AS mixer,
    printf('%.4f', mean) AS "difference to natural",
    coalesce(printf('%.4f to %.4f', low, high), '') AS "95% interval",
    coalesce(printf('%.4f', max(predicted)), '') AS predicted,
    any_value(words) AS words
FROM mixing_verdict
WHERE mixer <> 'natural'
GROUP BY partition, mixer, mean, low, high, starts_with(run, 'RegMix for'), CASE WHEN mixer = 'found' THEN run END
ORDER BY partition, "loss on", mean, mixer
