SELECT doc_id, source FROM held_out WHERE doc_id IN (SELECT doc_id FROM corpus) ORDER BY doc_id
