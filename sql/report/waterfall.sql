-- The steps from the base budgets to the allocated ones, summed over clusters. replay: what the boost adds. normalised:
-- what dividing by the sum of utilities takes off. cut: what caps take off. given: what clusters below their caps get
-- instead, with rounding.
-- in: budgets   out: one row
WITH summed AS (
    SELECT
        any_value(unit) AS unit,
        sum(base_budget) AS base,
        sum(utility - base_budget) AS replay,
        sum(budget) - sum(utility) AS normalised,
        -sum(greatest(budget - capacity, 0))::DOUBLE AS cut,
        sum(allocated)::DOUBLE AS total,
        sum(greatest(budget - base_budget, 0)) / sum(base_budget) AS moved_by_replay,
        sum(greatest(allocated - budget, 0)) / nullif(sum(budget), 0) AS moved_by_caps,
        count(*) FILTER (allocated = capacity) AS at_cap,
        count(*) FILTER (replay_multiplier > 1) AS replayed,
        count(*) FILTER (NOT gate_open) AS gated,
        count(*) AS clusters
    FROM budgets
)
SELECT *, total - (base + replay + normalised + cut) AS given FROM summed
