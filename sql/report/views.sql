-- Which tables are in force?
-- in: catalog   out: one row per view
SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY view_name
