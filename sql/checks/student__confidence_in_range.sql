SELECT doc_id, confidence FROM student_labels
WHERE confidence IS NULL OR isnan(confidence) OR confidence NOT BETWEEN 0 AND 1
ORDER BY doc_id
