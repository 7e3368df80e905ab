-- The documents that a user labelled, by id or source, as the judge reads them.
-- in: gold (name), corpus   out: one row per labelled document of the corpus
SELECT DISTINCT c.doc_id, -1 AS cluster_id, c.language, c.source, c.text
FROM gold AS g JOIN corpus AS c ON g.name = c.doc_id OR g.name = c.source
ORDER BY c.doc_id
