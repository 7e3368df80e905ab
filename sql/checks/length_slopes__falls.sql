SELECT encoder, reading, neighbourhood, slope, low, high FROM length_slopes
WHERE NOT coalesce(high < 0, true)
ORDER BY encoder, reading, neighbourhood
