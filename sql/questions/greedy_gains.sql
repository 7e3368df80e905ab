-- How does the gain fall as documents are taken? At most 200 ranks, evenly spread. covered is the part of a document's
-- alignment that earlier documents had covered.
-- in: subset   out: one row per rank
WITH ranked AS (SELECT rank, gain, covered, alignment, count(*) OVER () AS n FROM subset WHERE rank IS NOT NULL)
SELECT rank, gain, covered, alignment FROM ranked
WHERE (rank - 1) % greatest(n // 200, 1) = 0 OR rank = n
ORDER BY rank
