SELECT * FROM evaluation
WHERE NOT (value BETWEEN low - 1e-9 AND high + 1e-9)
    OR NOT coalesce(to_random BETWEEN to_random_low - 1e-9 AND to_random_high + 1e-9, true)
    OR (verdict LIKE 'better than%' OR verdict LIKE 'worse than%')
        != ((to_random_low > 0 OR to_random_high < 0) AND to_random_high - to_random_low > 1e-9)
