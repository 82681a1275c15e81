"""The audit report: from the rows of a result to sections, and from these to HTML and JSON."""
