SELECT representatives, asked, accuracy, low, chance, n FROM name_accuracy
WHERE representatives IN ('gis', 'in_force') AND low <= chance
ORDER BY asked, representatives
