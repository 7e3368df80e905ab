-- How typical is a document of its cluster? Rank 1 is the most typical one. The terms are those of GEM's equation 14.
-- in: influence   parameters: doc (id)   out: one row, or none; ranked: how many documents of the cluster have a rank
SELECT
    influence, rank, (SELECT count(*) FROM influence AS i WHERE i.cluster_id = d.cluster_id) AS ranked,
    log_gamma, log_density, log_rho
FROM influence AS d WHERE doc_id = $doc
