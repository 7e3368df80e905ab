SELECT draw_to_draw, n_clusters FROM probe_agreement WHERE NOT coalesce(draw_to_draw >= 0.5, true)
