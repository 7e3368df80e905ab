SELECT n.doc_id, n.stands_for, other.stands_for AS which_stands_for
FROM near_duplicates AS n LEFT JOIN near_duplicates AS other ON other.doc_id = n.stands_for
WHERE other.stands_for IS DISTINCT FROM n.stands_for AND n.stands_for NOT IN (SELECT doc_id FROM held_out)
ORDER BY n.doc_id
