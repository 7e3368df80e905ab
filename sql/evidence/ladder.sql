-- Each strategy on each set, with the paired difference to random and the verdict. Less is better.
-- in: ladder   out: one row per set and strategy
SELECT
    "set", strategy, kind,
    printf('%.4f ± %.4f', bits_per_byte, (high - low) / 2)
        || CASE WHEN seeds < max(seeds) OVER () THEN printf(' (%d seeds)', seeds) ELSE '' END AS bits_per_byte,
    coalesce(printf('%+.4f ± %.4f', to_random, (to_random_high - to_random_low) / 2), '') AS to_random,
    coalesce(verdict, '') AS verdict,
    coalesce(compared_with, '') AS compared_with,
    coalesce(printf('%+.4f ± %.4f', to_previous, (to_previous_high - to_previous_low) / 2), '') AS "difference to it",
    coalesce(previous_verdict, '') AS "verdict against it"
FROM (SELECT *, row_number() OVER () AS place FROM ladder)
ORDER BY "set", CASE kind WHEN 'rung' THEN 0 WHEN 'yours' THEN 1 WHEN 'baseline' THEN 2 ELSE 3 END, place
