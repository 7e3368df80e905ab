SELECT quantity, "floor", ratio_to_proportional, low, high FROM probe_variance
WHERE allocation = 'neyman' AND expected_ratio > 1
ORDER BY quantity, "floor"
