-- Every mixer on texts that are the same for both partitions: loss, and differences to natural and to uniform, paired by seed.
-- in: mixing_target (tools/mixing.py)   out: one row per set of texts, partition and mixer; found: per run
SELECT
    target AS "texts", partition,
    CASE WHEN mixer = 'found' THEN run ELSE mixer END AS mixer, any_value(seeds) AS seeds,
    printf('%.4f', any_value(loss)) AS "bits per byte",
    coalesce(printf('%+.4f (%+.4f to %+.4f)', any_value(difference), any_value(difference_low), any_value(difference_high)), '')
        AS "minus natural (95% interval)",
    coalesce(printf('%+.4f (%+.4f to %+.4f)', any_value(to_uniform), any_value(to_uniform_low), any_value(to_uniform_high)), '')
        AS "minus uniform (95% interval)"
FROM mixing_target
GROUP BY target, partition, CASE WHEN mixer = 'found' THEN run ELSE mixer END
ORDER BY target, partition, any_value(loss)
