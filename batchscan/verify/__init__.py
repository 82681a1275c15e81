"""Repeating a result: digests, and a sample of rows."""
