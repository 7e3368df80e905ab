-- What the judge and the proxy read, in the order of the probe set. Their texts are added by the stage.
-- in: probe_set, corpus   out: one row a probe document
SELECT p.doc_id, p.cluster_id, p.rank, c.language, c.source, c.n_tokens
FROM probe_set AS p JOIN corpus AS c USING (doc_id)
ORDER BY p.cluster_id, p.rank
