SELECT quantity, "floor", allocation, variance, expected_variance FROM probe_variance
WHERE expected_variance > 1e-12 AND NOT variance / expected_variance BETWEEN 0.5 AND 2
ORDER BY quantity, "floor", allocation
