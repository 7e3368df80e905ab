SELECT encoder, reading, neighbourhood, slope, mean_distance FROM length_slopes
WHERE NOT (coalesce(isfinite(slope), true) AND coalesce(low <= high, true) AND mean_distance BETWEEN 0 AND 2)
ORDER BY encoder, reading, neighbourhood
