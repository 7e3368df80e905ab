-- Which documents did a greedy selection take first, and why?
-- in: subset, corpus   out: at most ten rows, in the order in which they were taken; none for other selections
SELECT s.rank, c.source, s.gain, s.alignment, s.covered, s.n_tokens
FROM subset AS s JOIN corpus AS c USING (doc_id)
WHERE s.rank IS NOT NULL ORDER BY s.rank LIMIT 10
