"""Bytes of an image file -> a small square of grey levels."""
