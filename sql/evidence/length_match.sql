-- At which β the lengths match.
-- in: length_match   out: one row per target and measure
SELECT target, "by", printf('%.2f (%.2f to %.2f)', matched_beta, low, high) AS "matching β", draws FROM length_match
