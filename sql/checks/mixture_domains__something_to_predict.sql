SELECT item_id FROM mixture_items GROUP BY item_id HAVING count(*) > 1 OR bool_or(n_bytes = 0)
