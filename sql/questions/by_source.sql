-- What came of each source? Documents that were read are kept, held out or rejected; near copies are among those kept.
-- in: corpus, rejected, held_out, near_duplicates, subset   out: one row per source; none for a pool at one path
WITH copies AS (SELECT doc_id FROM near_duplicates WHERE doc_id <> stands_for),
kept AS (
    SELECT
        c.pool, any_value(c.role) AS role, count(*) AS n_kept, count(copies.doc_id) AS near_copies,
        coalesce(sum(c.n_tokens) FILTER (copies.doc_id IS NULL), 0)::BIGINT AS tokens,
        count(s.doc_id) AS n_selected, coalesce(sum(s.n_tokens * s.repeats), 0)::BIGINT AS tokens_selected
    FROM corpus AS c LEFT JOIN copies USING (doc_id) LEFT JOIN subset AS s USING (doc_id)
    WHERE c.pool IS NOT NULL
    GROUP BY c.pool
),
reasons AS (
    SELECT pool, any_value(role) AS role, reason, count(*) AS n FROM rejected WHERE pool IS NOT NULL GROUP BY pool, reason
),
refused AS (
    SELECT
        pool, any_value(role) AS role, sum(n)::BIGINT AS n_rejected,
        string_agg(n || ' ' || reason, ', ' ORDER BY n DESC, reason) AS reasons
    FROM reasons GROUP BY pool
),
aside AS (SELECT pool, count(*) AS n_held_out FROM held_out WHERE pool IS NOT NULL GROUP BY pool)
SELECT
    pool AS source, coalesce(k.role, r.role, 'select') AS role,
    coalesce(n_kept, 0) + coalesce(n_held_out, 0) + coalesce(n_rejected, 0) AS n_read,
    coalesce(n_rejected, 0) AS n_rejected, coalesce(reasons, '') AS reasons, coalesce(n_held_out, 0) AS n_held_out,
    coalesce(near_copies, 0) AS near_copies, coalesce(n_kept, 0) - coalesce(near_copies, 0) AS n_docs,
    coalesce(tokens, 0) AS tokens, coalesce(n_selected, 0) AS n_selected,
    coalesce(tokens_selected, 0) AS tokens_selected,
    coalesce(tokens_selected, 0) / nullif(sum(tokens_selected) OVER (), 0) AS share_of_subset
FROM kept AS k FULL JOIN refused AS r USING (pool) FULL JOIN aside USING (pool)
ORDER BY tokens DESC, source
