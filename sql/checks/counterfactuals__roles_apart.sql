WITH members AS (
    SELECT subset_id, role, list(doc_id ORDER BY doc_id) AS docs, min(repeats) AS repeats
    FROM trial_subsets GROUP BY subset_id, role
)
SELECT a.subset_id AS calibration, b.subset_id AS "check"
FROM members AS a JOIN members AS b ON a.docs = b.docs AND a.repeats = b.repeats
WHERE a.role = 'calibration' AND b.role = 'check'
ORDER BY 1, 2
