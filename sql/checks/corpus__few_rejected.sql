WITH counted AS (
    SELECT
        (SELECT count(*) FROM corpus) AS n_kept,
        (SELECT count(*) FROM rejected WHERE reason NOT IN ('duplicate', 'unknown kind')) AS n_rejected
)
SELECT * FROM counted WHERE n_rejected > 0.2 * (n_kept + n_rejected)
