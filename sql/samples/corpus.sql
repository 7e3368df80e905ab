-- The first documents of the pool, for a person to look at. Reads corpus.
SELECT source, language, n_tokens AS tokens, left(text, 300) AS begins FROM corpus LIMIT 5
