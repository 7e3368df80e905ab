SELECT doc_id, x, y FROM corpus_map WHERE NOT (isfinite(x) AND isfinite(y)) ORDER BY doc_id
