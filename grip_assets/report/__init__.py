"""What a person reads about a run: the report page, the pictures in the UI, the texts in the terminal."""
