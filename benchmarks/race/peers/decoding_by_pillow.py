"""As `decoding_alone.py`, with Pillow at reduced size: the ceiling of the tuned peers."""

from __future__ import annotations

from benchmarks.race.peers.decoding_alone import run
from benchmarks.race.peers.fused import decode_files_by_pillow

if __name__ == "__main__":
    run(decode_files_by_pillow)
