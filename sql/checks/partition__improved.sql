-- Of each start: what its last iterations have lost against its first. Small components are dissolved between them, which
-- costs some of what was gained.
SELECT seed, first(objective ORDER BY iteration) AS at_first, last(objective ORDER BY iteration) AS at_last
FROM fit_trace
GROUP BY seed HAVING last(objective ORDER BY iteration) < first(objective ORDER BY iteration) - 1e-6
ORDER BY seed
