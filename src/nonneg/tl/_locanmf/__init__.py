"""Components of movies near regions."""
