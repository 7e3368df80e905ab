WITH shares AS (SELECT avg((status <> 'ok')::INT) AS failed, count(*) AS n_documents FROM quality_scores),
limits AS (SELECT value::DOUBLE AS most FROM settings WHERE "group" = 'quality' AND name = 'max_failed')
SELECT failed, n_documents, most FROM shares, limits WHERE failed > most
