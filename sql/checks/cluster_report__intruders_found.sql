SELECT judged_by, accuracy, low, chance, trials FROM intruders_overall
WHERE low <= chance
ORDER BY judged_by
