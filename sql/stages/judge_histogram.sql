-- How often each score from 0 to 10 was given, by dimension. Scores are rounded to whole numbers.
-- in: quality_scores   out: eleven rows per dimension
WITH given AS (
    UNPIVOT (SELECT syntax_integrity, architecture, educational_value, technical_depth FROM quality_scores
        WHERE status = 'ok')
    ON COLUMNS(*) INTO NAME dimension VALUE score
),
counted AS (SELECT dimension, floor(score + 0.5)::INT AS score, count(*) AS n FROM given GROUP BY ALL),
names AS (SELECT DISTINCT dimension FROM given)
SELECT names.dimension, level.score, coalesce(n, 0) AS n
FROM names CROSS JOIN (SELECT unnest(range(11))::INT AS score) AS level LEFT JOIN counted USING (dimension, score)
ORDER BY dimension, score
