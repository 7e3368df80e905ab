-- Each strategy on each set, with the paired difference to random and the verdict. Less is better.
-- in: ladder   out: one row a set and strategy
SELECT
    "set", strategy, kind,
    printf('%.4f ± %.4f', bits_per_byte, (high - low) / 2) AS bits_per_byte,
    printf('%+.4f ± %.4f', to_random, (to_random_high - to_random_low) / 2) AS to_random,
    coalesce(verdict, '') AS verdict,
    coalesce(printf('%+.4f ± %.4f', to_previous, (to_previous_high - to_previous_low) / 2), '') AS to_previous,
    coalesce(previous_verdict, '') AS "compared with the rung before, or of an ablation with grip"
FROM ladder
ORDER BY "set", CASE kind WHEN 'rung' THEN 0 WHEN 'baseline' THEN 1 ELSE 2 END
