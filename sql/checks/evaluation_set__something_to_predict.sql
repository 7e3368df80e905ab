SELECT item_id FROM evaluation_set GROUP BY item_id HAVING count(*) > 1 OR bool_or(n_bytes = 0)
