SELECT p.mixer, w.name, p.weight, w.most
FROM mixture_prediction AS p JOIN mixture_weights AS w USING (domain)
WHERE NOT p.weight <= w.most + 1e-9
ORDER BY p.mixer, domain
