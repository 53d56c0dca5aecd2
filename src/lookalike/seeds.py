"""Randomness without global state: each purpose has its own seed, derived by hashing."""

from __future__ import annotations

import hashlib
import json


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2^63) from the study's seed, the run, a purpose and, where needed, a step.

    Equal parts give equal seeds on every machine and Python version; any other part gives an
    unrelated one. Seeding by step makes a resumed training draw what an uninterrupted one drew.
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
