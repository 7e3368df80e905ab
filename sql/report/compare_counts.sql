-- Documents in one subset, in the other, in both.
-- in: first, second (tables subset)   out: three rows at most
SELECT
    CASE WHEN f.doc_id IS NULL THEN 'second' WHEN s.doc_id IS NULL THEN 'first' ELSE 'both' END AS part,
    count(*) AS documents,
    sum(coalesce(f.n_tokens * f.repeats, 0))::BIGINT AS tokens_first,
    sum(coalesce(s.n_tokens * s.repeats, 0))::BIGINT AS tokens_second
FROM first AS f FULL JOIN second AS s USING (doc_id)
GROUP BY 1 ORDER BY 1
