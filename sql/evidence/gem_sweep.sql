-- GEM with each λ, in units of the mean κ of the start: documents of each cluster.
-- in: gem_sweep (tools/gem.py)   out: one row per λ
SELECT
    printf('%g', balance) AS "λ", round(entropy, 3) AS entropy, round(effective, 1) AS "effective clusters",
    printf('%.1f%%', 100 * largest) AS largest, round(smallest, 2) AS "smallest × K",
    printf('%.4f', mean_cosine) AS "mean cosine", coalesce(printf('%.3f', nmi_language), '') AS "NMI, language",
    coalesce(printf('%.3f', nmi_project), '') AS "NMI, package",
    coalesce(printf('%.3f', small_recall_language), '') AS "recall of small languages",
    coalesce(printf('%.3f', small_recall_project), '') AS "recall of small packages"
FROM gem_sweep
WHERE masses = 'hard'
ORDER BY balance
