-- How did the budget move between clusters? Shares are of the whole budget; move = share now - share before.
-- in: before, after (two tables budgets over the same clusters)   out: one row per cluster, largest gain first
WITH shares AS (
    SELECT
        cluster_id, b.quality, b.delta, b.replay_multiplier,
        a.allocated / sum(a.allocated) OVER () AS share_before,
        b.allocated / sum(b.allocated) OVER () AS share_now
    FROM before AS a JOIN after AS b USING (cluster_id)
)
SELECT
    cluster_id, round(share_before, 5) AS share_before, round(share_now, 5) AS share_now,
    round(share_now - share_before, 5) AS move, round(quality, 4) AS quality, round(delta, 4) AS delta,
    round(replay_multiplier, 4) AS replay_multiplier
FROM shares
ORDER BY move DESC, cluster_id
