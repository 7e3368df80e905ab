-- Which documents entered the subset and which left it?
-- in: before, after (two tables subset)   out: one row; tokens count repeats
SELECT
    count(*) FILTER (b.doc_id IS NULL) AS documents_entered,
    count(*) FILTER (a.doc_id IS NULL) AS documents_left,
    count(*) FILTER (a.doc_id IS NOT NULL AND b.doc_id IS NOT NULL) AS documents_kept,
    coalesce(sum(a.n_tokens * a.repeats) FILTER (b.doc_id IS NULL), 0)::BIGINT AS tokens_entered,
    coalesce(sum(b.n_tokens * b.repeats) FILTER (a.doc_id IS NULL), 0)::BIGINT AS tokens_left
FROM after AS a FULL JOIN before AS b USING (doc_id)
