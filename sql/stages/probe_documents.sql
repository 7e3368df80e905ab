-- The documents that the judge or the proxy reads, in the order of the probe set. The stage adds their texts.
-- in: probe_set, corpus   out: one row per probe document
SELECT p.doc_id, p.cluster_id, p.rank, c.language, c.source, c.n_tokens
FROM probe_set AS p JOIN corpus AS c USING (doc_id)
ORDER BY p.cluster_id, p.rank
