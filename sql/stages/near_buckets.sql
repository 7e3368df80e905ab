-- The buckets in which two or more documents are, and who is in them. A document is a place in the order of the rule.
-- in: bands (bucket, place)   out: one row per document and bucket, in the order of the rule; buckets are numbers from 0
WITH shared AS (SELECT bucket, row_number() OVER () - 1 AS number FROM bands GROUP BY bucket HAVING count(*) > 1)
SELECT place, number AS bucket FROM bands JOIN shared USING (bucket) ORDER BY place, bucket
