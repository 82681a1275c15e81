"""The race: batchscan beside other ways to score the same archive with the same network."""
