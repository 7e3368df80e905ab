-- A partition by a column needs no student.
SELECT coalesce(c.doc_id, s.doc_id) AS doc_id, s.component
FROM (SELECT doc_id FROM corpus ANTI JOIN embeddings USING (doc_id)) AS c
FULL JOIN (SELECT doc_id, any_value(component) AS component, count(*) AS n FROM student_labels GROUP BY doc_id) AS s
    USING (doc_id)
WHERE (SELECT count("column") FROM components) = 0
    AND (c.doc_id IS NULL OR s.doc_id IS NULL OR n > 1 OR component NOT IN (SELECT cluster_id FROM components))
ORDER BY 1
