"""Train CHMNet on annotated pairs, as its authors do, and score it by PCK.

Min, Kim and Cho (arXiv 2109.05221); section 1.7 of the specification. Both ResNet-101s learn too, at a rate of their
own, and their statistics move. What is written has the layout of the authors' checkpoints and is what
`correspondence: {weights: FILE}` of a study takes.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from lookalike.data.keypoint_pairs import Layout, Pair, PairBatch, Split, load_batch, read_pairs
from lookalike.determinism import generator, pin_arithmetic
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.methods.chm_corr.kernels import Kind
from lookalike.methods.chm_corr.network import Branches, Learner, join_checkpoint, load_checkpoint
from lookalike.methods.chm_corr.transfer import right_share, transfer_loss, transfer_points
from lookalike.seeds import derive_seed
from lookalike.tensors import read_weights, write_tensors

ALPHAS = (0.05, 0.1, 0.15)
SIDE, BATCH, LEARNER_RATE, BACKBONE_RATE, CHANNELS = 240, 20, 1e-3, 1e-5, 256
log = logging.getLogger("lookalike")


class Matching(nn.Module):
    """Both branches and the learner."""

    def __init__(self, branches: Branches, learner: Learner) -> None:
        super().__init__()
        self.branches, self.learner = branches, learner

    def forward(self, batch: PairBatch) -> Tensor:
        """(B, P, 2) the source's points in the target, between -1 and 1."""
        source = self.learner.pyramid(self.branches(batch.source, "source"))
        target = self.learner.pyramid(self.branches(batch.target, "target"))
        return transfer_points(self.learner(source, target), batch.points)


def train_matching(
    layout: Layout,
    folder: Path,
    out: Path,
    start: Path,
    kind: Kind = "psi",
    epochs: int = 1000,
    batch_size: int = BATCH,
    side: int = SIDE,
    seed: int = 0,
    threads: int = 1,
) -> float:
    """Train on a layout's training pairs; the weights of the epoch with the best validation PCK@0.1 stay in `out`.

    Args:
        layout: of the pairs.
        folder: that holds them.
        out: .safetensors file to write.
        start: weights of a ResNet-101, from which both branches start, or a CHMNet checkpoint to go on from.
        kind: how the kernels share weights.
        epochs: over the training pairs.
        batch_size: pairs a step.
        side: of the squashed images, a multiple of 16.
        seed: of initialisation and order.
        threads: CPU threads.

    Returns:
        The best validation PCK@0.1.

    Raises:
        LookalikeError: pairs or weights are missing or damaged, or the loss is not finite.
    """
    pin_arithmetic(threads)
    device = best_device()
    pairs, validation = read_pairs(layout, folder, "trn"), read_pairs(layout, folder, "val")
    torch.manual_seed(derive_seed(seed, "matching", "weights"))
    model = Matching(*_start(read_weights(start), str(start), kind)).to(device)
    rates = ((model.learner, LEARNER_RATE), (model.branches, BACKBONE_RATE))
    optimizer = torch.optim.Adam([{"params": list(part.parameters()), "lr": rate} for part, rate in rates])
    best = -1.0
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(pairs), generator=generator(derive_seed(seed, "matching", "order", epoch)))
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
        found = score_pairs(model, validation, side, batch_size, device)[0.1]
        log.info("epoch %d/%d loss %.5f validation PCK@0.1 %.4f", epoch + 1, epochs, total / len(pairs), found)
        if found > best:
            best = found
            write_tensors(out, join_checkpoint(model.branches, model.learner))
    return best


def score_matching(
    weights: Path, layout: Layout, folder: Path, split: Split = "test", side: int = SIDE, threads: int = 1
) -> dict[float, float]:
    """PCK of a checkpoint by share of the image (PF-PASCAL) or of the object: the mean over pairs of each one's share.

    Args:
        weights: a checkpoint in the authors' layout.
        layout: of the pairs.
        folder: that holds them.
        split: which of them.
        side: of the squashed images.
        threads: CPU threads.

    Returns:
        Alpha -> PCK.

    Raises:
        LookalikeError: pairs or weights are missing or damaged.
    """
    pin_arithmetic(threads)
    device = best_device()
    model = Matching(*load_checkpoint(read_weights(weights), str(weights))).to(device)
    return score_pairs(model, read_pairs(layout, folder, split), side, BATCH, device)


@torch.no_grad()
def score_pairs(
    model: Matching, pairs: list[Pair], side: int, batch_size: int, device: torch.device
) -> dict[float, float]:
    """PCK by alpha; see `score_matching`."""
    model.eval()
    shares: dict[float, list[Tensor]] = {alpha: [] for alpha in ALPHAS}
    for start in range(0, len(pairs), batch_size):
        batch = load_batch(pairs[start : start + batch_size], side, device)
        moved = model(batch)
        for alpha, found in shares.items():
            found.append(right_share(moved, batch.moved, batch.valid, alpha * batch.tolerance))
    return {alpha: float(torch.cat(found).nanmean()) for alpha, found in shares.items()}


def _start(state: dict[str, Tensor], source: str, kind: Kind) -> tuple[Branches, Learner]:
    """Networks of a checkpoint, or both branches from one ResNet-101 and a fresh learner."""
    if any(name.startswith("learner.") for name in state):
        return load_checkpoint(state, source)
    branches = Branches()
    own = branches.source.state_dict()
    found = {name: value for name, value in state.items() if name in own}
    try:
        branches.source.load_state_dict(found)
        branches.target.load_state_dict(found)
    except RuntimeError as error:
        raise LookalikeError(f"{source} is no ResNet-101: {str(error).splitlines()[-1].strip()}.") from None
    return branches, Learner(kind, 1024, CHANNELS)
