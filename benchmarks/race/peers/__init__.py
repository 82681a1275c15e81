"""The peers: each file is a program, `python -m benchmarks.race.peers.NAME`, see `task.py`."""
