-- Which version of each asset is in force, and in which folder is it?
-- in: artifacts   out: one row per asset in force
SELECT asset, version, path FROM artifacts WHERE in_force ORDER BY asset
