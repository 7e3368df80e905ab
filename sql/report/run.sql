-- When was each artifact in force computed?
-- in: artifacts   out: one row an asset in force
SELECT asset, version, path FROM artifacts WHERE in_force ORDER BY asset
