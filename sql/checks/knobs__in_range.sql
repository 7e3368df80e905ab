SELECT knob, factor, overlap, budget_moved FROM knobs
WHERE NOT (overlap BETWEEN 0 AND 1 AND budget_moved BETWEEN 0 AND 1)
ORDER BY knob, factor
