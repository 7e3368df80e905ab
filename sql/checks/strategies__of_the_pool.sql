SELECT s.strategy, s.seed, s.doc_id, count(*) AS n
FROM strategies AS s LEFT JOIN clusters AS c USING (doc_id, n_tokens)
GROUP BY ALL
HAVING count(*) > 1 OR min(s.repeats) < 1 OR count(c.doc_id) < 1
ORDER BY ALL
