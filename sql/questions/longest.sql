-- Which are the ten longest documents of the subset, and what share of its tokens do they hold?
-- in: corpus, subset   out: at most ten rows, longest first
SELECT
    c.source, s.cluster_id, s.n_tokens, s.repeats,
    s.n_tokens * s.repeats / (SELECT sum(n_tokens * repeats) FROM subset) AS share
FROM subset AS s JOIN corpus AS c USING (doc_id)
ORDER BY s.n_tokens DESC, c.source
LIMIT 10
