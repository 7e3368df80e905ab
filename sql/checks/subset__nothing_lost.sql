WITH counted AS (
    SELECT
        (SELECT sum(n) FROM intake WHERE outcome = 'read') AS n_read,
        (SELECT count(*) FROM subset) AS n_selected,
        (SELECT count(*) FROM selection_weights WHERE repeats = 0) AS n_not_selected,
        (SELECT count(*) FROM near_duplicates WHERE doc_id <> stands_for) AS n_near_copies,
        (SELECT count(*) FROM held_out) AS n_held_out,
        (SELECT count(*) FROM rejected) AS n_rejected
)
SELECT * FROM counted WHERE n_read <> n_selected + n_not_selected + n_near_copies + n_held_out + n_rejected
