SELECT value AS elsewhere FROM metrics
WHERE name = 'tokenizer_shift' AND value > 0.05
