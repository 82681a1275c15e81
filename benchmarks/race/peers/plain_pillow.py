"""What a careful user writes without any engine: Pillow's `draft`, ONNX Runtime, a loop.

As `plain_processes.py`, a process for each core, but its reading, decoding and scoring are not
batchscan's.
"""

from __future__ import annotations

from benchmarks.race.peers.fused import decode_files_by_pillow
from benchmarks.race.peers.plain_processes import run

if __name__ == "__main__":
    run(decode_files_by_pillow)
