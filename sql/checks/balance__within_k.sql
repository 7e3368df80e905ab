SELECT b.fit, b.masses, b.effective, counted.k
FROM balance AS b
JOIN (SELECT fit, masses, count(*) AS k FROM balance_masses GROUP BY ALL) AS counted USING (fit, masses)
WHERE b.effective > counted.k AND counted.k < 1024
ORDER BY b.fit, b.masses
