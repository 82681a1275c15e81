"""The commands that `batchscan.cli` lists."""
