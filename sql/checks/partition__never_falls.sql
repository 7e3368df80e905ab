-- Iterations in which F is lower than before, beyond the rounding of its sums. While the balance term grows (λ rises) F
-- may fall.
WITH steps AS (
    SELECT seed, iteration, objective, balance,
        lag(objective) OVER of_seed AS before, lag(balance) OVER of_seed AS balance_before
    FROM fit_trace WHERE balance IS NOT NULL
    WINDOW of_seed AS (PARTITION BY seed ORDER BY iteration)
)
SELECT seed, iteration, before, objective FROM steps
WHERE balance = balance_before AND NOT objective >= before - 1e-9 * abs(before)
ORDER BY seed, iteration
