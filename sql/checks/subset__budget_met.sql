-- Documents longer than their cluster's budget can leave so little that the budget is not met.
SELECT sum(allocated)::BIGINT AS budget, sum(drawn)::BIGINT AS drawn, sum(passed_over)::BIGINT AS documents_passed_over,
    sum(passed_over_tokens)::BIGINT AS tokens_passed_over, sum(left_out)::BIGINT AS documents_left_out
FROM selection_thresholds
HAVING sum(granted) < 0.99 * sum(allocated)
