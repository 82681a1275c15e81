"""A scan from its configuration to its result: plan, shards, workers, merge."""
