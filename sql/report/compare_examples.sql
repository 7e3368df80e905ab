-- Documents of one subset that are not in the other, drawn by hash.
-- in: first, second (tables subset)   parameters: most   out: at most that many rows
SELECT f.doc_id, f.cluster_id, f.n_tokens FROM first AS f ANTI JOIN second AS s USING (doc_id)
ORDER BY md5(f.doc_id), f.doc_id LIMIT $most
