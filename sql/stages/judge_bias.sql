-- How much of the score's variance a document's length, language and source explain. A judge of quality should not
-- follow these too closely. eta2: share of the variance between the groups. epsilon2: the same, minus the share that so
-- many groups explain by chance (Kelley 1935); it can be below 0. Length is grouped by deciles. A source is grouped by
-- the first two folders of its path (for an address: the host and the first folder), or by its file if it has none.
-- in: judged (doc_id, score, language, source, n_tokens)   out: one row for each of the three
WITH grouped AS (
    SELECT score, 'length' AS follows, ntile(10) OVER (ORDER BY n_tokens, doc_id)::VARCHAR AS part FROM judged
    UNION ALL SELECT score, 'language', coalesce(language, 'unknown') FROM judged
    UNION ALL SELECT score, 'source',
        coalesce(nullif(array_to_string(folders[:2], '/'), ''), regexp_replace(source, ':\d+$', ''))
    FROM (SELECT *, string_split(regexp_replace(source, '^[a-z0-9+]+://', ''), '/')[:-2] AS folders FROM judged)
),
parts AS (SELECT follows, part, count(*) AS n, avg(score) AS mean,
    coalesce(sum(score * score), 0) AS squares FROM grouped GROUP BY ALL),
sums AS (
    SELECT
        follows, sum(n) AS n, count(*) AS n_groups,
        sum(squares) - sum(n * mean) ** 2 / sum(n) AS total,
        greatest(sum(squares) - sum(n * mean * mean), 0) AS within_groups
    FROM parts
    GROUP BY follows
)
SELECT
    follows, n::BIGINT AS n, n_groups,
    CASE WHEN total > 1e-12 THEN 1 - within_groups / total END AS eta2,
    CASE WHEN total > 1e-12 AND n > n_groups
        THEN 1 - (within_groups / (n - n_groups)) / (total / (n - 1)) END AS epsilon2
FROM sums
ORDER BY follows
