-- What the calibration subsets say: the chosen configuration, and the best six others of each start.
-- in: grasp_choice (tools/grasp.py)   out: one row per start and configuration
SELECT
    start, configuration, printf('%.2f', mean) AS "Spearman",
    coalesce(printf('%+.2f (%+.2f to %+.2f)', gain, lower_bound, upper_bound), '') AS "gain over additive",
    words
FROM grasp_choice
QUALIFY chosen OR row_number() OVER (PARTITION BY start, chosen ORDER BY mean DESC) <= 6
ORDER BY start, chosen DESC, mean DESC
