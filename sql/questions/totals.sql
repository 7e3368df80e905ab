-- What went in and what came out?
-- in: catalog   out: one row
WITH distinct_or_all AS (
    SELECT n_tokens FROM corpus ANTI JOIN (SELECT doc_id FROM near_duplicates WHERE doc_id <> stands_for) USING (doc_id)
)
SELECT
    (SELECT value ->> '$' FROM settings WHERE "group" = 'corpus' AND name = 'title') AS title,
    (SELECT sum(n) FILTER (outcome = 'listed') FROM intake)::BIGINT AS listed,
    (SELECT sum(n) FILTER (outcome = 'read') FROM intake)::BIGINT AS read,
    (SELECT count(*) FROM rejected) AS rejected,
    (SELECT count(*) FROM rejected WHERE reason = 'duplicate') AS duplicates,
    (SELECT count(*) FROM rejected WHERE reason = 'contaminated') AS contaminated,
    (SELECT count(*) FROM held_out) AS held_out,
    (SELECT count(*) FROM near_duplicates WHERE doc_id <> stands_for) AS near_copies,
    (SELECT count(*) FROM near_duplicates WHERE stands_for IN (SELECT doc_id FROM held_out)) AS near_copies_of_held_out,
    (SELECT count(*) FROM distinct_or_all) AS documents,
    (SELECT sum(n_tokens) FROM distinct_or_all)::BIGINT AS tokens,
    (SELECT count(*) FROM centroids) AS clusters,
    (SELECT count(*) FROM probe_set) AS probe_documents,
    (SELECT count(*) > 0 FROM probe_agreement) AS drops_measured,
    (SELECT any_value(draw_to_draw) FROM probe_agreement) AS draw_to_draw,
    (SELECT any_value(with_unigram) FROM probe_agreement) AS with_unigram,
    (SELECT any_value(total) FROM budgets)::BIGINT AS budget,
    (SELECT any_value(unit) FROM budgets) AS unit,
    (SELECT value ->> '$' FROM settings WHERE "group" = 'budget' AND name = 'base') AS base,
    (SELECT value ->> '$' FROM settings WHERE "group" = 'selection' AND name = 'rule') AS rule,
    (SELECT count(*) FILTER (cluster_id IS NULL) > 0 FROM selection_thresholds) AS of_the_pool,
    (SELECT count(*) FROM clusters WHERE role = 'keep') AS documents_of_background,
    coalesce((SELECT sum(n_tokens) FROM clusters WHERE role = 'keep'), 0)::BIGINT AS tokens_of_background,
    (SELECT list(DISTINCT pool ORDER BY pool) FROM corpus WHERE pool IS NOT NULL) AS sources,
    (SELECT count(*) FROM subset) AS documents_selected,
    (SELECT sum(n_tokens * repeats) FROM subset)::BIGINT AS tokens_selected,
    (SELECT count(*) FROM embeddings) AS documents_embedded,
    (SELECT count(*) FROM embeddings WHERE n_windows_embedded < n_windows) AS documents_with_windows_left_out
