SELECT agreement, low, high, largest_class, n_held_out FROM student WHERE NOT coalesce(agreement > largest_class, true)
