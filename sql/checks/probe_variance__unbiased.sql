SELECT quantity, "floor", allocation, bias, variance, draws FROM probe_variance
WHERE abs(bias) > 4 * sqrt(greatest(variance, expected_variance) / draws) + 1e-9
ORDER BY quantity, "floor", allocation
