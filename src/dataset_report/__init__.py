"""A data set studied before anything is trained: numbers, pictures, what looks wrong, and the page of it."""
