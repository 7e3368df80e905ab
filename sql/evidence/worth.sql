-- What each strategy is worth in random tokens: the multiple of them that reaches the same loss.
-- in: worth   out: one row per set and strategy
SELECT "set", strategy, seeds, words AS "worth, in random tokens" FROM worth ORDER BY "set", worth DESC NULLS LAST
