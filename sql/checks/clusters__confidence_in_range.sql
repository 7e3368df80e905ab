SELECT doc_id, confidence, labelled_by FROM clusters
WHERE confidence IS NULL OR isnan(confidence) OR confidence NOT BETWEEN 0 AND 1 OR labelled_by IS NULL
ORDER BY doc_id
