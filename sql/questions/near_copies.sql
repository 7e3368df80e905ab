-- Which documents stand for the most near copies? An example of each: the copy that is least like it.
-- in: near_duplicates, corpus   out: at most ten rows, the one with the most copies first
WITH copies AS (SELECT * FROM near_duplicates WHERE doc_id <> stands_for),
standing AS (
    SELECT
        stands_for, count(*) AS near_copies, sum(c.n_tokens)::BIGINT AS tokens, min(similarity) AS least,
        arg_min(c.source, (similarity, c.source)) AS example
    FROM copies JOIN corpus AS c USING (doc_id) GROUP BY stands_for
)
SELECT f.near_copies, f.tokens, f.stands_for, c.source, f.example, f.least
FROM standing AS f JOIN corpus AS c ON c.doc_id = f.stands_for
ORDER BY f.near_copies DESC, c.source LIMIT 10
