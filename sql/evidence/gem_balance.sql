-- Five fits of the same vectors with the same K: how even their masses are, and what that costs.
-- in: balance   out: one row per fit and kind of mass
SELECT
    fit, masses, round(entropy, 3) AS entropy, round(effective, 1) AS "effective clusters",
    printf('%.1f%%', 100 * largest) AS largest, round(smallest, 2) AS "smallest × K", round(gini, 3) AS gini,
    printf('%.0f%%', 100 * light) AS "below 0.1/K", coalesce(printf('%.4f', mean_cosine), '') AS "mean cosine",
    coalesce(printf('%.3f', nmi_language), '') AS "NMI, language",
    coalesce(printf('%.3f', nmi_project), '') AS "NMI, package",
    coalesce(printf('%.3f', small_recall_language), '') AS "recall of small languages",
    coalesce(printf('%.3f', small_recall_project), '') AS "recall of small packages"
FROM balance
