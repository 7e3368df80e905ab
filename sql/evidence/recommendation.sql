-- What the evaluation recommends on each set of texts; the set that decides first.
-- in: recommendation   out: one row per set
SELECT "set", strategy, words, seeds, seeds_needed AS "seeds for 1%" FROM recommendation ORDER BY decides DESC, "set"
