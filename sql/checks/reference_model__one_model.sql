SELECT count(*) AS models FROM reference HAVING count(*) <> 1 OR bool_or(model IS NULL AND path IS NULL)
