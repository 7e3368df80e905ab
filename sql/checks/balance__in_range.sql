SELECT * FROM balance
WHERE NOT (
    entropy BETWEEN 0 AND 1 AND effective >= 1 AND largest BETWEEN 0 AND 1 AND smallest BETWEEN 0 AND 1
    AND gini BETWEEN 0 AND 1 AND light BETWEEN 0 AND 1
    AND coalesce(abs(mean_cosine) <= 1 + 1e-6, true)
    AND coalesce(nmi_language BETWEEN 0 AND 1, true) AND coalesce(nmi_project BETWEEN 0 AND 1, true)
    AND coalesce(small_recall_language BETWEEN 0 AND 1, true) AND coalesce(small_recall_project BETWEEN 0 AND 1, true)
)
ORDER BY fit, masses
