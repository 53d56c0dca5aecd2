"""What makes two computations on one machine give the same bytes."""

from __future__ import annotations

import ctypes
import os

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` that starts at `seed`."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return generator


def seed_network(seed: int, device: torch.device) -> None:
    """Seed what a network draws by itself on its device, such as dropout.

    `torch.manual_seed` seeds every kind of device; for each one that has not been used it keeps a formatted stack:
    three a training step, which nobody ever reads.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def keep_memory() -> None:
    """Let freed memory be used again, instead of being given back and asked for at each step.

    glibc maps large blocks anew each time, and the kernel clears every page: 3.3 million page faults, and a quarter of
    the time, of a training on 64 x 64 pixels. Results are the same bytes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc alone has it
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def pin_arithmetic(threads: int) -> None:
    """Fix what changes the last digits: thread count, deterministic kernels, no TF32; and keep freed memory."""
    keep_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    if torch.cuda.is_available():  # the switch imports the compiler, one second; on the CPU it changes nothing
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
