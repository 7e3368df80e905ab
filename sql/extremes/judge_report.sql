-- The measures of the whole score: agreement, bias, cost.
SELECT section, dimension, measure, value, n FROM judge_report WHERE dimension IN ('score', 'answers', 'this run')
