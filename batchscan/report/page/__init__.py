"""A document as one HTML page, as JSON, and as text."""
