-- The rules are in naming/inert.py. Here: its length, and none of the characters that any reader obeys.
SELECT cluster_id, name, family_name FROM taxonomy
WHERE length(name) > 40 OR length(family_name) > 40
    OR NOT regexp_full_match(name, '[\p{L}\p{M}\p{Nd} ,:;.()+#-]+')
    OR NOT regexp_full_match(family_name, '[\p{L}\p{M}\p{Nd} ,:;.()+#-]+')
    OR regexp_matches(name, '^[ ,:;+#.-]|  ') OR regexp_matches(family_name, '^[ ,:;+#.-]|  ')
ORDER BY cluster_id
