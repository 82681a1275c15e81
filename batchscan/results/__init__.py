"""Parquet on disk or on a store: parts, and the result that they become."""
