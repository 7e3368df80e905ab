-- The passages that the models predict, and those left out because a document of the pool holds over 0.3 of one.
-- in: evaluation_set   out: one row per set
SELECT
    "set", count(*) AS items, count(DISTINCT project) AS projects, sum(n_bytes)::BIGINT AS bytes,
    count(*) FILTER (in_pool > 0.3) AS left_out_as_copies
FROM evaluation_set
GROUP BY "set"
ORDER BY "set"
