-- A training has this many windows: whole steps, each of whole windows.
WITH asked AS (
    SELECT max(value::DOUBLE) FILTER (name = 'tokens') AS tokens,
        max(value::DOUBLE) FILTER (name = 'batch_tokens') AS batch_tokens,
        max(value::DOUBLE) FILTER (name = 'context') AS context
    FROM settings WHERE "group" = 'mixing' AND name IN ('tokens', 'batch_tokens', 'context')
), pace AS (
    SELECT greatest(batch_tokens // context, 1) AS per_step, tokens, context FROM asked
)
SELECT mixture_id, domain, weight, achieved FROM mixtures, pace
WHERE abs(achieved - weight) > 1.000001 / (per_step * greatest(tokens // (per_step * context), 1))
ORDER BY mixture_id, domain
