-- The pool and what is selected from it.
-- in: catalog   out: one row
SELECT
    (SELECT count(*) FROM corpus) AS documents,
    (SELECT sum(n_tokens) FROM corpus)::BIGINT AS tokens,
    (SELECT count(DISTINCT language) FROM corpus) AS languages,
    (SELECT count(*) FROM rejected WHERE reason = 'duplicate') AS duplicates,
    (SELECT count(*) FROM rejected WHERE reason = 'contaminated') AS contaminated,
    (SELECT count(DISTINCT project) FROM held_out) AS held_out_projects,
    (SELECT count(*) FROM held_out) AS held_out_documents,
    (SELECT count(*) FROM centroids) AS clusters,
    (SELECT count(*) FROM probe_set) AS probe_documents,
    (SELECT any_value(total) FROM budgets)::BIGINT AS budget_tokens
