-- The documents that help most with each target, one by one, for a person to look at: of the first 2,000 of the pool, so
-- that no large pool is read through for it. Reads corpus, attribution.
SELECT a.target, c.source, c.language, a.alignment, left(c.text, 300) AS begins
FROM (SELECT doc_id, source, language, text FROM corpus LIMIT 2000) AS c JOIN attribution AS a USING (doc_id)
QUALIFY row_number() OVER (PARTITION BY a.target ORDER BY a.alignment DESC, c.source, a.doc_id) <= 3
ORDER BY a.target, a.alignment DESC, c.source, a.doc_id
LIMIT 12
