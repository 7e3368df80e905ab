-- The most common values of a column, for a partition by it. Documents without a value are one row, with NULL.
-- in: column_values   parameters: most   out: one row per value, the most common first
SELECT value, count(*) AS n_docs FROM column_values GROUP BY value
ORDER BY n_docs DESC, value NULLS LAST LIMIT $most
