-- Documents of the corpus without an embedding, or the other way round. With settings/embedding.sample: a number of
-- embeddings that is not the one asked for. A share is drawn by a hash, so its number may be off by chance (6 standard
-- deviations); at least two documents are embedded.
WITH asked AS (SELECT try_cast(max(value) AS DOUBLE) AS sample FROM settings WHERE "group" = 'embedding' AND name = 'sample'),
sizes AS (SELECT (SELECT count(*) FROM corpus) AS n_documents, (SELECT count(*) FROM embeddings) AS n_embedded),
expected AS (
    SELECT *, CASE WHEN sample > 1 THEN least(greatest(floor(sample), 2), n_documents) ELSE sample * n_documents END AS n_asked,
        CASE WHEN sample > 1 THEN 0 ELSE 2 + 6 * sqrt(n_documents * sample * (1 - sample)) END AS chance
    FROM sizes, asked
)
SELECT coalesce(c.doc_id, e.doc_id) AS doc_id, NULL::DOUBLE AS share
FROM corpus AS c FULL JOIN (SELECT doc_id, count(*) AS n FROM embeddings GROUP BY doc_id) AS e USING (doc_id), asked
WHERE c.doc_id IS NULL OR e.n > 1 OR (e.doc_id IS NULL AND asked.sample IS NULL)
UNION ALL
SELECT NULL, n_embedded / n_documents FROM expected WHERE abs(n_embedded - n_asked) > chance
ORDER BY doc_id
