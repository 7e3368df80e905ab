-- How does the predicted utility of each trial compare with the measured one? A score is a configuration or a baseline.
-- Scores have units of their own, so only their order can be compared. A trial whose training failed is left out.
-- in: attribution_predictions   out: one row per score, target and trial
SELECT configuration, target, size, role, kind, subset_id, predicted, utility
FROM attribution_predictions WHERE utility IS NOT NULL
ORDER BY target, size, role, kind, subset_id, configuration
