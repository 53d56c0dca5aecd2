"""Speed and memory of the Nadaraya-Watson head against a plain form, in one run.

    python benchmarks/nw_head.py --out results/benchmarks/nw_head.json

Plain form: expand the support to every query, take the batched distance, softmax, multiply by one-hot
labels: the form anyone writes first. Floor: the bare matrix products that no form can avoid.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from measure import extra_memory, interleaved, machine, save
from torch import Tensor

from lookalike import NWHead
from lookalike.methods.nw.head import Support

CASES = [(64, 5794, 200, 512), (128, 10000, 100, 512)]
BACKWARD = (64, 5794, 200, 512)
STREAM = (64, 1_281_167, 1000, 512)
BLOCK = 2048


def plain(query: Tensor, support: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Log-probabilities (B, C) through a (B, N, D) copy of the support and a (B, N, C) one-hot."""
    expanded = support[None].expand(len(query), -1, -1).contiguous()
    distance = torch.cdist(query[:, None], expanded).squeeze(1)
    one_hot = F.one_hot(labels, n_classes).float()[None].expand(len(query), -1, -1)
    probabilities = torch.bmm((-distance).softmax(1)[:, None], one_hot).squeeze(1)
    return (probabilities + 1e-12).log()


def draw(case: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random features: query, support, labels and targets."""
    batch, rows, classes, width = case
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(batch, width, generator=generator) * 0.3
    support = torch.randn(rows, width, generator=generator) * 0.3
    labels = torch.arange(rows) % classes
    return query, support, labels, torch.arange(batch) % classes


def forward(case: tuple[int, int, int, int], repeats: int) -> dict[str, float]:
    """Forward pass, support norms kept from an earlier batch (`ours`) and not (`fresh`)."""
    query, support, labels, _ = draw(case)
    head = NWHead(case[2])
    kept = Support.of(support, labels)
    calls = {
        "plain": lambda: plain(query, support, labels, case[2]),
        "ours": lambda: head(query, kept),
        "fresh": lambda: head(query, support, labels),
        "product": lambda: support @ query.T,
    }
    with torch.no_grad():
        difference = (calls["plain"]() - calls["ours"]()).abs().max().item()
        fast = interleaved({k: v for k, v in calls.items() if k != "plain"}, repeats * 10)
        together = interleaved(calls, repeats)
        memory = {name: extra_memory(calls[name]) for name in ("ours", "plain")}
    return _summary(together, fast, memory, difference)


def backward(case: tuple[int, int, int, int], repeats: int) -> dict[str, float]:
    """Forward and backward pass to query and support, nothing kept."""
    query, support, labels, targets = draw(case)
    head = NWHead(case[2])

    q, s = query.clone().requires_grad_(), support.clone().requires_grad_()

    def step(form: str) -> tuple[Tensor, Tensor]:
        out = head(q, s, labels) if form == "ours" else plain(q, s, labels, case[2])
        return torch.autograd.grad(F.nll_loss(out, targets), (q, s))

    weight = support @ query.T
    calls = {
        "plain": lambda: step("plain"),
        "ours": lambda: step("ours"),
        "product": lambda: (support @ query.T, weight.T @ support, weight @ query),
    }
    difference = max(
        ((a - b).abs().max() / a.abs().max()).item() for a, b in zip(step("plain"), step("ours"), strict=True)
    )
    fast = interleaved({k: v for k, v in calls.items() if k != "plain"}, repeats * 10)
    together = interleaved(calls, repeats)
    memory = {name: extra_memory(calls[name]) for name in ("ours", "plain")}
    return _summary(together, fast, memory, difference)


def _summary(
    together: dict[str, dict[str, float]],
    fast: dict[str, dict[str, float]],
    memory: dict[str, int],
    difference: float,
) -> dict[str, float]:
    result = {f"{name}_ms": values["median"] * 1e3 for name, values in {**together, **fast}.items()}
    result["speedup"] = together["plain"]["median"] / together["ours"]["median"]
    result["over_product"] = fast["ours"]["median"] / fast["product"]["median"]
    result["ours_mb"], result["plain_mb"] = memory["ours"] / 1e6, memory["plain"] / 1e6
    result["memory_ratio"] = memory["plain"] / max(memory["ours"], 1)
    result["largest_difference"] = difference
    return result


def stream(case: tuple[int, int, int, int], repeats: int) -> dict[str, float]:
    """A support of ImageNet's size, block by block, beside the bare products of the same blocks."""
    batch, rows, classes, width = case
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(batch, width, generator=generator) * 0.3
    support = torch.empty(rows, width).normal_(generator=generator).mul_(0.3)
    labels = torch.randint(classes, (rows,), generator=generator)
    kept = Support.of(support, labels).split(BLOCK)
    head = NWHead(classes)

    def products() -> None:
        for block in kept:
            block.features @ query.T

    calls = {"ours": lambda: head.stream(query, kept), "product": products}
    times = interleaved(calls, repeats)
    memory = extra_memory(calls["ours"])
    part = Support.of(support[:50_000], labels[:50_000])
    with torch.no_grad():
        difference = (head.stream(query, part.split(BLOCK)) - head(query, part)).abs().max().item()
    return {
        **{f"{name}_ms": values["median"] * 1e3 for name, values in times.items()},
        "over_product": times["ours"]["median"] / times["product"]["median"],
        "ours_mb": memory / 1e6,
        "largest_difference_on_50000_rows": difference,
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/nw_head.json"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    metrics = {f"forward {case}": forward(case, options.repeats) for case in CASES}
    metrics[f"forward+backward {BACKWARD}"] = backward(BACKWARD, options.repeats)
    metrics[f"stream {STREAM}"] = stream(STREAM, options.repeats)
    print(machine())
    for name, values in metrics.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:35s} {value:.4g}")
    save(options.out, "nw_head", metrics)


if __name__ == "__main__":
    main()
