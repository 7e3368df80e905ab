-- What every cluster is called, beside what is in it: its most common language and package.
-- in: catalog   out: one row per cluster
SELECT
    t.cluster_id AS cluster, t.name, t.family_name AS family, t.n_docs AS documents,
    (SELECT language || printf(' (%.0f%%)', 100 * count(*) / t.n_docs) FROM clusters AS k JOIN corpus USING (doc_id)
        WHERE k.cluster_id = t.cluster_id GROUP BY language ORDER BY count(*) DESC, language LIMIT 1) AS "language",
    (SELECT project || printf(' (%.0f%%)', 100 * count(*) / t.n_docs)
        FROM (SELECT *, split_part(source, '/', 1) || '/' || split_part(source, '/', 2) AS project FROM corpus) AS c
        JOIN clusters AS k USING (doc_id)
        WHERE k.cluster_id = t.cluster_id GROUP BY project ORDER BY count(*) DESC, project LIMIT 1) AS package
FROM taxonomy AS t
ORDER BY t.cluster_id
