-- Languages of the documents, before and after selection. The rarest are one row.
-- in: catalog   parameters: most   out: one row per language
WITH counted AS (
    SELECT
        coalesce(c.language, 'unknown') AS name, count(*) AS n, count(s.doc_id) AS chosen,
        sum(c.n_tokens) AS tokens, coalesce(sum(s.n_tokens * s.repeats), 0) AS tokens_chosen
    FROM corpus AS c
    ANTI JOIN (SELECT doc_id FROM near_duplicates WHERE doc_id <> stands_for) AS copies USING (doc_id)
    LEFT JOIN subset AS s USING (doc_id)
    GROUP BY 1
),
ranked AS (SELECT *, row_number() OVER (ORDER BY tokens DESC, name) AS place FROM counted)
SELECT
    CASE WHEN place <= $most THEN name ELSE 'all others' END AS language, min(place) AS place,
    sum(n)::BIGINT AS n_docs, sum(chosen)::BIGINT AS n_selected,
    sum(tokens)::BIGINT AS tokens_pool, sum(tokens_chosen)::BIGINT AS tokens_selected
FROM ranked GROUP BY 1 ORDER BY place
