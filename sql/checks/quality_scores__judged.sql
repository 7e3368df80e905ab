SELECT cluster_id, n_judged, n_asked FROM cluster_quality WHERE status <> 'ok' ORDER BY cluster_id
