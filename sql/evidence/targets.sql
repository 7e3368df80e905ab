-- Who wins where, and at what price elsewhere: the gain over random in per cent on each set of texts. More is better.
-- in: ladder   out: one row per strategy, one column per set. better, worse: the 95% interval leaves 0 out
WITH gains AS (
    SELECT strategy, "set", to_random_low, to_random_high, bits_per_byte - to_random AS random_bits, -to_random / random_bits AS gain
    FROM ladder
    WHERE strategy <> 'random'
), said AS (
    SELECT
        strategy, "set", avg(gain) OVER (PARTITION BY strategy) AS mean,
        printf('%+.1f (%+.1f to %+.1f)', 100 * gain, -100 * to_random_high / random_bits, -100 * to_random_low / random_bits)
            || CASE WHEN to_random_high < 0 THEN ', better' WHEN to_random_low > 0 THEN ', worse' ELSE '' END AS words
    FROM gains
)
SELECT * EXCLUDE (mean) FROM (PIVOT said ON "set" USING any_value(words)) ORDER BY mean DESC
