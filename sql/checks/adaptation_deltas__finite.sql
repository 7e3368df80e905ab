SELECT cluster_id, loss_initial, loss_final, delta, relative_delta
FROM adaptation_deltas
WHERE NOT (isfinite(loss_initial) AND isfinite(loss_final) AND isfinite(delta) AND isfinite(relative_delta)
    AND loss_final > 0)
ORDER BY cluster_id
