-- Documents of the background that are not in the subset, or more than once.
SELECT doc_id, repeats FROM selection_weights WHERE role = 'keep' AND repeats <> 1 ORDER BY doc_id
