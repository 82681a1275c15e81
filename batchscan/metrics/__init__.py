"""How well scores agree with labels."""
