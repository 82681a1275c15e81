"""Results without names: keyed pseudonyms of patients and paths."""
