-- Why was a document kept out before anything was computed?
-- in: catalog   parameters: doc (id or source)   out: one row per rejection or held-out document
WITH out AS (
    SELECT source, doc_id, reason, detail, stands_for FROM rejected
    UNION ALL
    SELECT source, doc_id, 'held out', 'project ' || project, NULL FROM held_out
    UNION ALL
    SELECT c.source, n.doc_id, 'near copy', printf('Jaccard %.2f', n.similarity), n.stands_for
    FROM near_duplicates AS n JOIN corpus AS c USING (doc_id) WHERE n.doc_id <> n.stands_for
),
kept AS (SELECT doc_id, source, false AS held_out FROM corpus UNION ALL SELECT doc_id, source, true FROM held_out)
SELECT
    o.source, o.reason, o.detail, o.stands_for, k.source AS stands_for_source, coalesce(k.held_out, false) AS of_held_out
FROM out AS o LEFT JOIN kept AS k ON k.doc_id = o.stands_for
WHERE o.source = $doc OR o.doc_id = $doc
ORDER BY o.source
