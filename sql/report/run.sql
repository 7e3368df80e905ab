-- When was each artifact in force computed?
-- in: artifacts   out: one row per asset in force
SELECT asset, version, path FROM artifacts WHERE in_force ORDER BY asset
