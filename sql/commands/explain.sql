-- Why is a document in or out?
-- in: catalog   parameters: doc (id or source; NULL: every document)   out: one row per document
SELECT
    c.doc_id, c.source, c.language, c.n_bytes, c.n_tokens,
    w.cluster_id, k.cosine, b.n_docs, b.sigma, b.quality, b.delta, b.replay_multiplier, b.base_budget,
        b.budget, t.allocated,
    b.unit, b.capacity, w.density, w.length_weight, w.selection_weight, w.key, w.repeats, t.threshold,
    t.granted, t.drawn, t.exhausted, t.passed_over, t.passed_over_tokens, t.max_tokens,
    CASE
        WHEN t.cluster_id IS NULL THEN (SELECT sum(CASE unit WHEN 'tokens' THEN n_tokens ELSE n_docs END) FROM budgets)
        WHEN b.unit = 'tokens' THEN b.n_tokens ELSE b.n_docs
    END::BIGINT AS whole,
    t.cluster_id IS NULL AS of_the_pool,
    q.score, q.judge, q.status, q.reason, q.parts
FROM corpus AS c
JOIN selection_weights AS w USING (doc_id)
JOIN clusters AS k USING (doc_id)
JOIN budgets AS b ON b.cluster_id = w.cluster_id
JOIN selection_thresholds AS t ON t.cluster_id = w.cluster_id OR t.cluster_id IS NULL
LEFT JOIN quality_scores AS q USING (doc_id)
WHERE $doc IS NULL OR c.doc_id = $doc OR c.source = $doc
