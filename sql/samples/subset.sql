-- Documents of the subset, for a person to look at: of the first 2,000 of the pool, so that no large pool is read
-- through for it. Reads corpus, subset.
SELECT c.source, c.language, s.cluster_id AS cluster, s.n_tokens AS tokens, left(c.text, 300) AS begins
FROM (SELECT doc_id, source, language, text FROM corpus LIMIT 2000) c JOIN subset s USING (doc_id)
ORDER BY c.source, s.doc_id LIMIT 5
