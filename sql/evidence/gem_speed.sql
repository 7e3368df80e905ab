-- Documents per second of one processor: embedded by the encoder, and labelled by the student.
-- in: gem_speed (tools/gem.py)   out: one row
SELECT
    round(max(documents / seconds) FILTER (what = 'embed'), 1) AS "embedded per second",
    round(max(documents / seconds) FILTER (what = 'label'))::BIGINT AS "labelled per second",
    round(max(documents / seconds) FILTER (what = 'label') / max(documents / seconds) FILTER (what = 'embed'))::BIGINT
        AS ratio
FROM gem_speed
