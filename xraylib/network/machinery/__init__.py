"""Fast and resumable twins of the textbook functions: same mathematics, tested equal."""
