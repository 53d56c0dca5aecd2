"""Randomness without global state: each purpose has its own seed, derived by hashing."""

from __future__ import annotations

import hashlib
import json
import os

import torch


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2^63) from the study's seed, the run, a purpose and, where needed, a step.

    Equal parts give equal seeds on every machine and Python version; any other part gives an
    unrelated one. Seeding by step makes a resumed training draw what an uninterrupted one drew.
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` that starts at `seed`."""
    made = torch.Generator(device=device)
    made.manual_seed(seed)
    return made


def pin_arithmetic(threads: int) -> None:
    """Fix what changes the last digits: thread count, deterministic kernels, no TF32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
