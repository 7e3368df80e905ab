-- How aligned are the documents with each target? Bands are a twentieth wide.
-- in: attribution   out: one row per target and band
SELECT target, floor(alignment * 20) / 20 AS from_alignment, count(*) AS n
FROM attribution GROUP BY ALL ORDER BY target, from_alignment
