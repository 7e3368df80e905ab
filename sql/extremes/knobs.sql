-- Every knob, the one that replaces most of the subset first.
SELECT knob, factor, value_now, value, overlap, budget_moved, mean_tokens, mean_tokens_now FROM knobs
ORDER BY overlap NULLS LAST, knob, factor
