-- A value that settings/budget.overflow refuses has neither a subset nor budgets.
WITH summed AS (SELECT knob, factor, sum(allocated) AS allocated FROM knob_budgets GROUP BY ALL)
SELECT k.knob, k.factor, s.allocated, (SELECT sum(allocated) FROM budgets) AS allocated_now
FROM knobs AS k FULL JOIN summed AS s USING (knob, factor)
WHERE (k.documents IS NULL) <> (s.allocated IS NULL) OR s.allocated <> allocated_now
ORDER BY ALL
