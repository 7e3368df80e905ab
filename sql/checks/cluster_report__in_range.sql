SELECT 'intruders' AS of, cluster_id AS which, accuracy, low, high FROM intruders
WHERE NOT (low BETWEEN 0 AND accuracy AND high BETWEEN accuracy AND 1 AND found BETWEEN 0 AND trials)
UNION ALL BY NAME
SELECT 'intruders_overall' AS of, judged_by AS which, accuracy, low, high FROM intruders_overall
WHERE NOT (low BETWEEN 0 AND accuracy AND high BETWEEN accuracy AND 1 AND coverage BETWEEN 0 AND 1)
UNION ALL BY NAME
SELECT 'name_accuracy' AS of, representatives AS which, accuracy, low, high FROM name_accuracy
WHERE NOT (low BETWEEN 0 AND accuracy AND high BETWEEN accuracy AND 1 AND chance BETWEEN 0 AND 1)
ORDER BY of, which
