WITH counted AS (
    SELECT
        (SELECT sum(n) FROM intake WHERE outcome = 'read') AS n_read,
        (SELECT count(*) FROM corpus) AS n_kept,
        (SELECT count(*) FROM held_out) AS n_held_out,
        (SELECT count(*) FROM rejected) AS n_rejected
)
SELECT * FROM counted WHERE n_read <> n_kept + n_held_out + n_rejected
