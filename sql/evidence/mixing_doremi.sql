-- DoReMi at its end: the largest weight, how many domains count, and how much the weights still move.
-- in: mixing_steps (tools/mixing.py)   out: one row per partition and seed
WITH last AS (SELECT partition, run, seed, max(step) AS step FROM mixing_steps GROUP BY ALL),
     halves AS (
        SELECT s.partition, s.run, s.seed, s.called, avg(s.weight) AS whole, avg(s.weight) FILTER (s.step <= l.step / 2) AS first,
            avg(s.excess_loss) AS excess, arg_max(s.weight, s.step) AS final
        FROM mixing_steps AS s JOIN last AS l ON l.partition = s.partition AND l.run = s.run AND l.seed = s.seed
        GROUP BY ALL)
SELECT
    partition, run, seed,
    arg_max(called, whole) AS "largest domain",
    printf('%.1f%%', 100 * max(whole)) AS "its mean weight",
    printf('%.1f%%', 100 * max(final)) AS "largest weight at the end",
    printf('%.1f', exp(-sum(whole * ln(whole)))) AS "effective domains",
    printf('%.3f', sum(abs(whole - first)) / 2) AS "moved after the first half",
    printf('%.3f', max(excess)) AS "largest mean excess loss"
FROM halves
GROUP BY partition, run, seed
ORDER BY partition, run, seed
