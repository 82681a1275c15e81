"""Ray-distributed jobs, and nothing else that knows Ray."""
