"""The rows of a result in memory, with labels and groups."""
