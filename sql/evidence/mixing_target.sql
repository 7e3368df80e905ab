-- Every mixer on texts that are the same for both partitions: loss, and difference to natural, paired by seed.
-- in: mixing_target (tools/mixing.py)   out: one row per set of texts, partition, run and mixer
SELECT
    target AS "texts", partition,
    CASE WHEN mixer IN ('found', 'grip') THEN run ELSE 'all' END AS run, mixer, any_value(seeds) AS seeds,
    printf('%.4f', any_value(loss)) AS "bits per byte",
    coalesce(printf('%+.4f (%+.4f to %+.4f)', any_value(difference), any_value(difference_low), any_value(difference_high)), '')
        AS "minus natural (95% interval)"
FROM mixing_target
GROUP BY target, partition, CASE WHEN mixer IN ('found', 'grip') THEN run ELSE 'all' END, mixer
ORDER BY target, partition, any_value(loss)
