SELECT doc_id, like_held_out FROM near_duplicates WHERE like_held_out IS NOT NULL ORDER BY doc_id
