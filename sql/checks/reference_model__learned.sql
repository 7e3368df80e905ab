SELECT loss, ln(vocabulary) AS guess FROM reference, attribution_tokenizer WHERE loss >= ln(vocabulary)
