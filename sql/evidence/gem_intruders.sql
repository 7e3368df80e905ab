-- The document-intruder test: all clusters, weighted by their documents.
-- in: intruders_overall   out: one row per judge
SELECT
    judged_by AS "judged by", clusters, trials,
    printf('%.1f%% (%.1f to %.1f)', 100 * accuracy, 100 * low, 100 * high) AS "intruders found",
    printf('%.1f%%', 100 * chance) AS chance, printf('%.0f%%', 100 * coverage) AS coverage,
    above_chance AS "clusters above chance"
FROM intruders_overall
