-- The difference of each strategy to random in each ladder that tools/ladders.py has kept, such as of two model sizes.
-- in: ladders   out: one row per set, strategy and ladder
SELECT
    "set", strategy, run, seeds,
    printf('%.4f', bits_per_byte) AS bits_per_byte,
    rank() OVER (PARTITION BY "set", run ORDER BY bits_per_byte) AS rank,
    coalesce(printf('%+.4f ± %.4f', to_random, (to_random_high - to_random_low) / 2), '') AS to_random
FROM ladders
ORDER BY "set", strategy, run
