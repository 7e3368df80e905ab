WITH asked AS (
    SELECT value::DOUBLE AS threshold FROM settings WHERE "group" = 'near_duplicates' AND name = 'threshold'
)
SELECT doc_id, stands_for, similarity FROM near_duplicates, asked
WHERE similarity NOT BETWEEN threshold AND 1 OR (doc_id = stands_for AND similarity <> 1)
ORDER BY doc_id
