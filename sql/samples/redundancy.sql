-- The best aligned documents that greedy did not take, for a person to look at: of the first 2,000 of the pool, so that
-- no large pool is read through for it. Reads corpus, redundancy.
SELECT r.place, c.source, c.language, r.similarity, r.rank AS taken_as, left(c.text, 300) AS begins
FROM (SELECT doc_id, source, language, text FROM corpus LIMIT 2000) AS c JOIN redundancy AS r USING (doc_id)
WHERE r.number = 1 ORDER BY r.place LIMIT 5
