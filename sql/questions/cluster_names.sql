-- What is a cluster about? Its value in the column of the partition (NULL under k-means), its most common language, and
-- the document nearest to its centre.
-- in: catalog   out: one row per cluster
SELECT
    k.cluster_id,
    (SELECT value FROM centroids AS n WHERE n.cluster_id = k.cluster_id) AS value,
    mode(c.language ORDER BY c.language) AS language,
    arg_max(c.source, (k.cosine, c.source)) AS typical
FROM clusters AS k JOIN corpus AS c USING (doc_id), (SELECT NULL::VARCHAR AS value) AS none  -- clusters of an earlier version have no column value
GROUP BY k.cluster_id, none.value ORDER BY k.cluster_id
