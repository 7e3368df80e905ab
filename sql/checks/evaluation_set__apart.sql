SELECT item_id FROM evaluation_set JOIN corpus ON item_id = 'held_out:' || doc_id
