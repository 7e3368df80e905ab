-- Which languages gained and lost share? Shares are of tokens; a repeated document counts as often as it is repeated.
-- in: corpus, near_duplicates, subset   out: one row per language, most of the pool first
SELECT
    coalesce(c.language, 'unknown') AS language,
    count(*) AS n_pool,
    count(s.doc_id) AS n_selected,
    sum(c.n_tokens) / sum(sum(c.n_tokens)) OVER () AS pool_share,
    coalesce(sum(c.n_tokens * s.repeats), 0) / sum(sum(c.n_tokens * s.repeats)) OVER () AS subset_share
FROM corpus AS c
ANTI JOIN (SELECT doc_id FROM near_duplicates WHERE doc_id <> stands_for) AS copies USING (doc_id)
LEFT JOIN subset AS s USING (doc_id)
GROUP BY 1
ORDER BY pool_share DESC, language
