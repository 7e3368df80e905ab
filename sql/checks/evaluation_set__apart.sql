SELECT item_id FROM evaluation_set JOIN corpus ON split_part(item_id, ':', 2) = doc_id
