-- Loss of each strategy on a whole set, with the cost of its selection. Negative differences are gains.
-- in: evaluation, costs (strategy_costs), worth   out: one row per set and strategy, in the order of the costs
SELECT
    e.set, e.strategy, c.kind, e.seeds, e.value AS bits_per_byte, e.low, e.high,
    e.to_random, e.to_random_low, e.to_random_high, e.verdict,
    e.compared_with, e.to_previous, e.to_previous_low, e.to_previous_high, e.previous_verdict,
    c.n_docs, c.n_tokens, c.mean_tokens, c.seconds, c.encoder_tokens, c.proxy_tokens, c.judged_documents,
    c.trained_tokens, w.worth, w.worth_low, w.worth_high, w.words AS worth_words
FROM evaluation AS e
JOIN (SELECT *, row_number() OVER () AS place FROM costs) AS c USING (strategy)
LEFT JOIN worth AS w ON w.set = e.set AND w.strategy = e.strategy
WHERE e.slice_by = 'all' AND e.measure = 'bits_per_byte'
ORDER BY e.set, c.place
