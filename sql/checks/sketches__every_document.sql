WITH wanted AS (SELECT doc_id, source FROM clusters CROSS JOIN sketch_sources),
found AS (SELECT doc_id, source, count(*) AS n, min(n_tokens) AS n_tokens, min(norm) AS norm FROM sketches GROUP BY ALL)
SELECT coalesce(w.doc_id, f.doc_id) AS doc_id, coalesce(w.source, f.source) AS source, f.n, f.n_tokens, f.norm
FROM wanted AS w FULL JOIN found AS f ON w.doc_id = f.doc_id AND w.source = f.source
WHERE f.n IS DISTINCT FROM 1 OR w.doc_id IS NULL OR NOT (f.n_tokens >= 0 AND isfinite(f.norm) AND f.norm >= 0)
ORDER BY 1, 2
