"""Train CHMNet on annotated pairs, as its authors do, and score it by PCK.

Min, Kim and Cho (arXiv 2109.05221) (docs/algorithms/chm_corr.md, section 7.1). Both ResNet-101s learn too, at a rate of
their own, and their statistics move. What is written has the layout of the authors' checkpoints and is what
`correspondence: {weights: FILE}` of a study takes.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from lookalike.core.determinism import make_generator, pin_arithmetic
from lookalike.core.devices import best_device
from lookalike.core.errors import LookalikeError
from lookalike.core.seeds import derive_seed
from lookalike.core.tensors import read_weights, write_tensors
from lookalike.data.keypoint_pairs import Layout, Pair, PairBatch, Split, load_batch, read_pairs
from lookalike.methods.chm_corr import KernelKind
from lookalike.methods.chm_corr.network import CHMBackbones, CHMNet, join_checkpoint, load_checkpoint
from lookalike.methods.reranking.transfer import right_share, transfer_loss, transfer_points

ALPHAS = (0.05, 0.1, 0.15)
SIDE, BATCH, LEARNER_RATE, BACKBONE_RATE, CHANNELS = 240, 20, 1e-3, 1e-5, 256
log = logging.getLogger("lookalike")


class CHMNetOnPairs(nn.Module):
    """Both branches and CHMNet."""

    def __init__(self, branches: CHMBackbones, chmnet: CHMNet) -> None:
        super().__init__()
        self.branches, self.chmnet = branches, chmnet

    def forward(self, batch: PairBatch) -> Tensor:
        """(B, P, 2) the source's points in the target, between -1 and 1."""
        source = self.chmnet.pyramid(self.branches(batch.source, "source"))
        target = self.chmnet.pyramid(self.branches(batch.target, "target"))
        return transfer_points(self.chmnet(source, target), batch.points)


def train_chmnet(
    layout: Layout,
    folder: Path,
    out: Path,
    start: Path,
    kind: KernelKind = "psi",
    epochs: int = 1000,
    batch_size: int = BATCH,
    side: int = SIDE,
    seed: int = 0,
    threads: int = 1,
) -> float:
    """Train on a layout's training pairs; the weights of the epoch with the best validation PCK@0.1 stay in `out`.

    Args:
        layout: Layout of the pairs' folder.
        folder: Folder that holds the pairs.
        out: Path of the .safetensors file to write.
        start: Path of the weights of a ResNet-101, from which both branches start, or of a CHMNet checkpoint to go on
            from.
        kind: How the kernels share weights.
        epochs: Passes over the training pairs.
        batch_size: Pairs a step.
        side: Side of the squashed images in pixels, a multiple of 16.
        seed: Seed of initialisation and order.
        threads: CPU threads.

    Returns:
        The best validation PCK@0.1.

    Raises:
        LookalikeError: Pairs or weights are missing or damaged, or the loss is not finite.
    """
    pin_arithmetic(threads)
    device = best_device()
    pairs, validation = read_pairs(layout, folder, "trn"), read_pairs(layout, folder, "val")
    torch.manual_seed(derive_seed(seed, "matching", "weights"))
    model = CHMNetOnPairs(*_start(read_weights(start), str(start), kind)).to(device)
    rates = ((model.chmnet, LEARNER_RATE), (model.branches, BACKBONE_RATE))
    optimizer = torch.optim.Adam([{"params": list(part.parameters()), "lr": rate} for part, rate in rates])
    best = -1.0
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(pairs), generator=make_generator(derive_seed(seed, "matching", "order", epoch)))
        total = 0.0
        for rows in order.split(batch_size):
            batch = load_batch([pairs[row] for row in rows.tolist()], side, device)
            loss = transfer_loss(model(batch), batch.moved, batch.valid)
            if not bool(loss.isfinite()):
                raise LookalikeError(f"the loss of epoch {epoch + 1} is not finite; the file {out} is that of before.")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        score = score_pairs(model, validation, side, batch_size, device)[0.1]
        log.info("epoch %d/%d loss %.5f validation PCK@0.1 %.4f", epoch + 1, epochs, total / len(pairs), score)
        if score > best:
            best = score
            write_tensors(out, join_checkpoint(model.branches, model.chmnet))
    return best


def score_chmnet(
    weights: Path, layout: Layout, folder: Path, split: Split = "test", side: int = SIDE, threads: int = 1
) -> dict[float, float]:
    """PCK of a checkpoint by share of the image (PF-PASCAL) or of the object: the mean over pairs of each one's share.

    Args:
        weights: Path of a checkpoint in the authors' layout.
        layout: Layout of the pairs' folder.
        folder: Folder that holds the pairs.
        split: Part of the pairs.
        side: Side of the squashed images, pixels.
        threads: CPU threads.

    Returns:
        Alpha -> PCK.

    Raises:
        LookalikeError: Pairs or weights are missing or damaged.
    """
    pin_arithmetic(threads)
    device = best_device()
    model = CHMNetOnPairs(*load_checkpoint(read_weights(weights), str(weights))).to(device)
    return score_pairs(model, read_pairs(layout, folder, split), side, BATCH, device)


@torch.no_grad()
def score_pairs(
    model: CHMNetOnPairs, pairs: list[Pair], side: int, batch_size: int, device: torch.device
) -> dict[float, float]:
    """PCK by alpha; see `score_chmnet`."""
    model.eval()
    shares: dict[float, list[Tensor]] = {alpha: [] for alpha in ALPHAS}
    for start in range(0, len(pairs), batch_size):
        batch = load_batch(pairs[start : start + batch_size], side, device)
        moved = model(batch)
        for alpha, values in shares.items():
            values.append(right_share(moved, batch.moved, batch.valid, alpha * batch.tolerance))
    return {alpha: float(torch.cat(values).nanmean()) for alpha, values in shares.items()}


def _start(state: dict[str, Tensor], source: str, kind: KernelKind) -> tuple[CHMBackbones, CHMNet]:
    """Networks of a checkpoint, or both branches from one ResNet-101 and a fresh CHMNet."""
    if any(name.startswith("learner.") for name in state):
        return load_checkpoint(state, source)
    branches = CHMBackbones()
    backbone = branches.source.state_dict()
    of_backbone = {name: value for name, value in state.items() if name in backbone}
    try:
        branches.source.load_state_dict(of_backbone)
        branches.target.load_state_dict(of_backbone)
    except RuntimeError as error:
        raise LookalikeError(f"{source} is no ResNet-101: {str(error).splitlines()[-1].strip()}.") from None
    return branches, CHMNet(kind, 1024, CHANNELS)
