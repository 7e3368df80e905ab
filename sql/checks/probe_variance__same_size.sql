SELECT quantity, "floor", min(probe_size) AS least, max(probe_size) AS most FROM probe_variance
GROUP BY quantity, "floor"
HAVING min(probe_size) <> max(probe_size) OR min(probe_size) <= 0
ORDER BY quantity, "floor"
