WITH counted AS (
    SELECT count(*) AS n_documents, count(*) FILTER (doc_id <> stands_for) AS n_near_copies FROM near_duplicates
)
SELECT * FROM counted WHERE n_near_copies > 0.5 * n_documents
