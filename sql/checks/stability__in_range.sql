SELECT * FROM stability
WHERE NOT (
    overlap BETWEEN 0 AND 1 AND overlap_by_chance BETWEEN 0 AND 1 AND documents_in >= 0 AND documents_out >= 0
    AND coalesce(abs(budget_correlation) <= 1 + 1e-9, true)
    AND coalesce(abs(quality_correlation) <= 1 + 1e-9, true)
    AND coalesce(abs(delta_correlation) <= 1 + 1e-9, true)
)
ORDER BY varied, seed
