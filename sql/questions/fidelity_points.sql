-- How does the predicted utility of each trial compare with the measured one? One score, such as the chosen one, is one
-- value of configuration. A utility is the mean over the seeds whose training succeeded.
-- in: attribution_predicted, trial_subsets, utilities   out: one row per score, target and trial
WITH trials AS (SELECT DISTINCT subset_id, role, kind, size FROM trial_subsets),
measured AS (
    SELECT subset_id, target, avg(utility) AS utility, count(*) AS seeds
    FROM utilities WHERE utility IS NOT NULL GROUP BY subset_id, target
)
SELECT p.configuration, p.target, t.size, t.role, t.kind, p.subset_id, p.predicted, m.utility, m.seeds
FROM attribution_predicted AS p JOIN trials AS t USING (subset_id) JOIN measured AS m USING (subset_id, target)
ORDER BY p.target, t.size, t.role, t.kind, p.subset_id, p.configuration
