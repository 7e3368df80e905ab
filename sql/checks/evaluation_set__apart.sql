SELECT item_id FROM evaluation_set JOIN corpus ON item_id IN ('held_out:' || doc_id, 'target:' || doc_id)
