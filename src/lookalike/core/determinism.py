"""What makes two computations on one machine give the same bytes."""

from __future__ import annotations

import os

import torch


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` that starts at `seed`."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return generator


def pin_arithmetic(threads: int) -> None:
    """Fix what changes the last digits: thread count, deterministic kernels, no TF32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    if torch.cuda.is_available():  # the switch imports the compiler, one second; on the CPU it changes nothing
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
