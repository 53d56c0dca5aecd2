"""Speed of ProtoFlow against plain forms of the same arithmetic, in one run, one thread.

    python benchmarks/protoflow.py --out results/benchmarks/protoflow.json

Plain forms: mixtures a class at a time through tensors of queries x components x dimensions; dense blocks by repeated
concatenation and 1 x 1 convolutions; a log-determinant at every call. Random weights.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from measure import interleaved, machine, save
from torch import Tensor

from lookalike.backbones.flow.dense_flow import DenseFlow, FlowShape
from lookalike.backbones.flow.nets import DenseLayer, DenseNetBlock, GatedConv
from lookalike.core.parameter_cache import ParameterCache
from lookalike.methods.protoflow.prototypes import GaussianPrototypes

CASE = (10, 5, 4928, 64)  # classes, components, dimensions, queries
SIDE, STEP_BATCH, FORWARD_BATCH = 32, 2, 4
GFLOP_AN_IMAGE = 33  # forward, two a multiply-add


def plain_mixtures(z: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """(B, C, K), a class after the other."""
    found = []
    for mean, log_var in zip(means, log_vars, strict=True):
        apart = (z[:, None] - mean).square() / log_var.exp()  # (B, K, D)
        found.append(-0.5 * (apart.sum(2) + log_var.sum(1) + z.shape[1] * math.log(2 * math.pi)))
    return torch.stack(found, 1)


def mixtures(repeats: int) -> dict[str, float]:
    """Log-densities of all components: in evaluation, where parameters stay, and with gradients."""
    classes, components, dims, batch = CASE
    torch.manual_seed(0)
    z, prototypes = torch.randn(batch, dims), GaussianPrototypes(classes, components, (dims // 16, 4, 4))
    with torch.no_grad():
        prototypes.log_var.normal_()

    def plain() -> Tensor:
        return plain_mixtures(z, prototypes.mean, prototypes.log_var)

    def ours() -> Tensor:
        return prototypes.weighted(z)

    def both(form: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(form().logsumexp(2).sum(), (prototypes.mean, prototypes.log_var))

    calls: dict[str, Callable[[], object]] = {
        "plain": torch.no_grad()(plain),
        "ours": torch.no_grad()(ours),
        "plain_both": lambda: both(plain),
        "ours_both": lambda: both(ours),
    }
    seconds = {name: value["median"] for name, value in interleaved(calls, repeats).items()}
    found = {f"{name}_ms": value * 1e3 for name, value in seconds.items()}
    found["ratio"] = seconds["plain"] / seconds["ours"]
    found["ratio_both"] = seconds["plain_both"] / seconds["ours_both"]
    with torch.no_grad():
        found["difference"] = float((plain() - math.log(components) - ours()).abs().max())
    return found


def plain_flow(flow: DenseFlow) -> DenseFlow:
    """The same weights in plain forms, which `plain_forms` puts in place."""
    return copy.deepcopy(flow).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


@contextmanager
def plain_forms() -> Iterator[None]:
    """Dense blocks by repeated concatenation in torch's order of memory, log-determinants computed anew."""

    def dense(self: DenseNetBlock, x: Tensor) -> Tensor:
        *layers, gate = self
        for layer in layers:
            assert isinstance(layer, DenseLayer)
            x = torch.cat([x, layer.nn(x)], 1)
        assert isinstance(gate, GatedConv)
        a, b, share = gate.conv(x).chunk(3, 1)
        result: Tensor = a + b * share.sigmoid()
        return result

    kept = DenseNetBlock.forward, ParameterCache.get
    DenseNetBlock.forward = dense  # type: ignore[method-assign]
    ParameterCache.get = lambda self, name, compute, *parameters: compute(*parameters)  # type: ignore[method-assign]
    try:
        yield
    finally:
        DenseNetBlock.forward, ParameterCache.get = kept  # type: ignore[method-assign]


def network(repeats: int) -> dict[str, float]:
    """DenseFlow-74-10 at 32 pixels: a training step's loss and gradients, and the evaluation forward."""
    torch.manual_seed(0)
    flow = DenseFlow((3, SIDE, SIDE), FlowShape())
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (FORWARD_BATCH, 3, SIDE, SIDE), generator=generator)
    noises = flow.draw_noises(FORWARD_BATCH, generator)
    with torch.no_grad():
        for value in flow.parameters():  # a new flow's couplings are the identity
            value += 0.01 * torch.randn(value.shape, generator=generator)
        flow.train().encode(images, noises)  # ActNorm's first batch

    other = plain_flow(flow)

    def step(net: DenseFlow = flow) -> float:
        net.train().zero_grad(set_to_none=True)
        found = net.encode(images[:STEP_BATCH], [noise[:STEP_BATCH] for noise in noises])
        value = net.bits_per_dim(net.log_base(found.z) + found.ldj)
        value.backward()  # type: ignore[no-untyped-call]
        net.zero_grad(set_to_none=True)
        return value.item()

    @torch.no_grad()
    def forward(net: DenseFlow = flow) -> Tensor:
        return net.eval().encode(images, noises).z

    def plain_step() -> float:
        with plain_forms():
            return step(other)

    def plain_forward() -> Tensor:
        with plain_forms():
            return forward(other)

    calls: dict[str, Callable[[], object]] = {
        "plain_step": plain_step,
        "step": step,
        "plain_forward": plain_forward,
        "forward": forward,
    }
    seconds = {name: value["median"] for name, value in interleaved(calls, repeats).items()}
    found = {f"{name}_s": value for name, value in seconds.items()}
    found["ratio_step"] = seconds["plain_step"] / seconds["step"]
    found["ratio_forward"] = seconds["plain_forward"] / seconds["forward"]
    found["loss"], found["plain_loss"] = step(), plain_step()
    found["difference"] = float((plain_forward() - forward()).abs().max())
    factors = torch.randn(2, 2048, 2048)
    found["product_gflops"] = 2 * 2048**3 / 1e9 / timed(lambda: factors[0] @ factors[1])
    found["floor_forward_s"] = FORWARD_BATCH * GFLOP_AN_IMAGE / found["product_gflops"]
    found["floor_step_s"] = 3 * STEP_BATCH * GFLOP_AN_IMAGE / found["product_gflops"]
    return found


def timed(call: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds."""
    return interleaved({"call": call}, repeats)["call"]["median"]


def main() -> None:
    """Print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/protoflow.json"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    metrics = {}
    for name, measure in (("mixtures", mixtures), ("network", network)):
        metrics[name] = measure(arguments.repeats)
        print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in metrics[name].items())}", flush=True)
    print(machine())
    save(arguments.out, "protoflow", metrics)


if __name__ == "__main__":
    main()
