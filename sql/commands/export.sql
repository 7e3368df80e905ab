-- The rows of an export in their order, each with the part that it is written in. A part has about $part_bytes of text.
-- With $expand, a document has as many rows as repeats. With $shuffle (a seed), rows are ordered by a hash,
-- otherwise by cluster.
-- in: subset, corpus   out: the table export_rows, one row per row of the export
CREATE TEMP TABLE export_rows AS
WITH rows AS (
    SELECT
        s.doc_id, c.language, c.source, c.n_bytes, s.n_tokens, s.cluster_id, s.density, s.length_weight,
        s.selection_weight, s.rank, s.gain, s.covered, s.alignment, c.kept,
        CASE WHEN $expand THEN 1 ELSE s.repeats END AS repeats,
        unnest(range(CASE WHEN $expand THEN s.repeats ELSE 1 END)) AS copy
    FROM subset AS s JOIN corpus AS c USING (doc_id)
),
ordered AS (
    SELECT
        * EXCLUDE (copy),
        row_number() OVER (
            ORDER BY
                CASE WHEN $shuffle IS NOT NULL THEN md5(concat($shuffle, ':', doc_id, ':', copy)) END,
                cluster_id, doc_id, copy
        ) AS position
    FROM rows
)
SELECT *, (sum(n_bytes + 256) OVER (ORDER BY position) // $part_bytes)::BIGINT AS part
FROM ordered
