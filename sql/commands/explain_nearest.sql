-- Which documents have a name like this one? Those whose source ends in it, after a slash; if none does, the nearest.
-- in: corpus, rejected, held_out   parameters: doc   out: source, ends_so; at most ten that end so, or three
WITH known AS (
    SELECT source FROM corpus UNION SELECT source FROM rejected UNION SELECT source FROM held_out
),
named AS (SELECT source, ends_with(source, '/' || ltrim($doc, './')) AS ends_so FROM known)
SELECT source, ends_so FROM named
QUALIFY row_number() OVER (
    ORDER BY ends_so DESC, CASE WHEN ends_so THEN length(source) END,
        jaro_winkler_similarity(source, $doc) DESC, source
) <= CASE WHEN bool_or(ends_so) OVER () THEN least(10, count(*) FILTER (ends_so) OVER ()) ELSE 3 END
ORDER BY ends_so DESC, CASE WHEN ends_so THEN length(source) END, jaro_winkler_similarity(source, $doc) DESC, source
