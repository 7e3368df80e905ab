-- The cost of each selection.
-- in: strategy_costs   out: one row per strategy
SELECT
    strategy, round(n_docs)::BIGINT AS documents, round(mean_tokens)::BIGINT AS mean_tokens,
        round(seconds)::BIGINT AS seconds,
    encoder_tokens, proxy_tokens, judged_documents
FROM strategy_costs
