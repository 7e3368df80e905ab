WITH weights AS (
    SELECT 'domains' AS what, weight FROM mixture_weights
    UNION ALL SELECT 'domains in the budget''s tokens', budget_weight FROM mixture_weights
    UNION ALL SELECT 'clusters', weight FROM mixture
    UNION ALL SELECT mixer, weight FROM mixture_prediction
)
SELECT what, sum(weight) AS total, min(weight) AS least FROM weights
GROUP BY what HAVING NOT (abs(sum(weight) - 1) < 1e-6 AND min(weight) >= 0)
ORDER BY what
