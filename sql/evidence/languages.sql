-- The sixteen largest languages of the pool.
-- in: corpus   out: one row per language
SELECT language, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens FROM corpus GROUP BY language
ORDER BY tokens DESC LIMIT 16
