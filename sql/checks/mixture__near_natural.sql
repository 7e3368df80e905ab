SELECT method, kl, (SELECT try_cast(value AS DOUBLE) FROM settings WHERE "group" = 'mixing' AND name = 'kl_to_natural') AS most
FROM mixture_summary
WHERE method = 'regmix' AND most IS NOT NULL AND NOT kl <= most + 1e-6
