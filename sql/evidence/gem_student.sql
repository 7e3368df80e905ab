-- The student beside its teacher, on documents that it never saw. Its speed: gem_speed.sql.
-- in: student   out: one row
SELECT
    model, n_classes AS clusters, n_embedded AS embedded, n_learned AS "learned from", n_labelled AS labelled,
    n_held_out AS "held out", printf('%.1f%% (%.1f to %.1f)', 100 * agreement, 100 * low, 100 * high) AS agreement,
    printf('%.1f%% of %d', 100 * agreement_top, n_held_out_top) AS "on clear ones", round(macro_f1, 3) AS "macro F1",
    printf('%.1f%%', 100 * largest_class) AS "largest cluster", round(mass_distance, 3) AS "distance of masses"
FROM student
