-- Five fits of the same vectors with the same K: how even their masses are, and what that costs.
-- in: balance   out: one row per fit and kind of mass
SELECT
    fit, masses, coalesce(printf('%g', balance), '') AS "λ", round(entropy, 3) AS entropy,
    round(effective, 1) AS "effective clusters", printf('%.1f%%', 100 * largest) AS largest,
    round(smallest, 2) AS "smallest × K", round(gini, 3) AS gini, printf('%.0f%%', 100 * light) AS "clusters below 0.1/K",
    round(mean_cosine, 4) AS "mean cosine"
FROM balance
