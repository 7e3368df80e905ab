-- Variance of the estimated mean, by how the probe is allocated.
-- in: probe_variance   out: one row per quantity, floor and allocation
SELECT quantity, floor, allocation, probe_size, at_floor, printf('%.3g', variance) AS variance,
    printf('%.2f (%.2f to %.2f)', ratio_to_proportional, low, high) AS "over proportional",
    round(expected_ratio, 2) AS "by the formula", round(spread_correlation, 2) AS "σ_k and the true spread", draws
FROM probe_variance
