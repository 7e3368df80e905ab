-- Documents that held a benchmark's problems, and were rejected before curation.
-- in: contamination   out: one row per benchmark and rule
SELECT * FROM contamination ORDER BY ALL
