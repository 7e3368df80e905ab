-- What is a cluster about? Its most common language, and the document nearest to its centre. Its name is in taxonomy.
-- in: catalog   out: one row per cluster
SELECT
    k.cluster_id,
    mode(c.language ORDER BY c.language) AS language,
    arg_max(c.source, (k.cosine, c.source)) FILTER (k.cosine IS NOT NULL) AS typical
FROM clusters AS k JOIN corpus AS c USING (doc_id)
GROUP BY k.cluster_id ORDER BY k.cluster_id
