SELECT * FROM contamination ORDER BY benchmark, rule
