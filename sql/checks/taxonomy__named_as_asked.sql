SELECT cluster_id, name, named_by FROM taxonomy
WHERE named_by = 'words'
    AND EXISTS (SELECT 1 FROM settings WHERE "group" = 'taxonomy' AND name = 'names' AND value = '"llm"')
ORDER BY cluster_id
