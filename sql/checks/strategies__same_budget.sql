-- Each strategy has a draw for each seed that settings/evaluation names. A draw differs from the budget by at most the
-- longest document, and exceeds it by at most half. It is below the budget if no document fits into the rest.
WITH said AS (SELECT name, value FROM settings WHERE "group" = 'budget' OR "group" = 'evaluation'),
pool AS (
    SELECT sum(n_tokens) AS tokens, max(n_tokens) AS longest FROM clusters WHERE role IS DISTINCT FROM 'keep'
),
asked AS (SELECT value::DOUBLE AS total FROM said WHERE name = 'total'),
budget AS (SELECT CASE WHEN total <= 1 THEN total * tokens ELSE total END AS tokens, longest FROM asked, pool),
wanted AS (
    SELECT s.strategy, unnest(range(first, first + CASE WHEN is_main THEN main_seeds ELSE seeds END)) AS seed
    FROM (
        SELECT strategy, list_contains(main, strategy) OR (strategy = 'random' AND len(main) > 0) AS is_main
        FROM (SELECT DISTINCT unnest(value::VARCHAR[]) AS strategy FROM said WHERE name = 'strategies'),
            (SELECT coalesce(any_value(value::VARCHAR[]), []) AS main FROM said WHERE name = 'main')
        WHERE strategy != 'grip_rounds'  -- the closed loop, which selects during the training
    ) AS s,
    (
        SELECT
            any_value(value::BIGINT) FILTER (name = 'seed') AS first,
            any_value(value::BIGINT) FILTER (name = 'seeds') AS seeds,
            any_value(value::BIGINT) FILTER (name = 'main_seeds') AS main_seeds
        FROM said WHERE name IN ('seed', 'seeds', 'main_seeds')
    ) AS n
),
taken AS (  -- without the background, which is in no budget
    SELECT strategy, seed, sum(repeats * n_tokens) AS tokens
    FROM strategies JOIN (SELECT doc_id FROM clusters WHERE role IS DISTINCT FROM 'keep') USING (doc_id)
    GROUP BY ALL
)
SELECT strategy, seed, t.tokens, b.tokens AS budget
FROM wanted FULL JOIN taken AS t USING (strategy, seed), budget AS b
WHERE t.tokens IS NULL OR b.tokens - t.tokens > b.longest OR t.tokens - b.tokens > least(b.longest, b.tokens / 2)
ORDER BY ALL
