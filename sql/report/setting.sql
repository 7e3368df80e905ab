-- One setting in force, as JSON.
-- in: settings   parameters: group, name
SELECT value::VARCHAR AS value FROM settings WHERE "group" = $group AND name = $name
