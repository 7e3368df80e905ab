-- How typical is a document of its cluster? Rank 1 is the most typical one. The terms are those of GEM's equation 14.
-- in: influence   parameters: doc (id)   out: one row, or none
SELECT influence, rank, log_gamma, log_density, log_rho FROM influence WHERE doc_id = $doc
