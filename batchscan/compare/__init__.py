"""Two results of the same images."""
