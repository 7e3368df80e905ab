-- How alike two fits are that differ only in their seed.
-- in: gem_pairs (tools/gem.py)   out: one row per fit
SELECT
    fit, count(*) AS pairs, round(avg(rand), 3) AS "adjusted Rand index", round(min(rand), 3) AS least,
    round(max(rand), 3) AS most
FROM (SELECT *, row_number() OVER () AS place FROM gem_pairs)
GROUP BY fit
ORDER BY min(place)
