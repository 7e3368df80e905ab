-- How often each score was given, by dimension. Scores are rounded to a quarter.
-- in: quality_scores   out: one row per dimension and score
WITH given AS (
    UNPIVOT (SELECT syntax_integrity, architecture, educational_value, technical_depth FROM quality_scores
        WHERE status = 'ok')
    ON COLUMNS(*) INTO NAME dimension VALUE score
)
SELECT dimension, round(4 * score) / 4 AS level, count(*) AS n FROM given GROUP BY ALL ORDER BY dimension, level
