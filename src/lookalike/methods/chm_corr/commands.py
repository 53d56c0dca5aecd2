"""`lookalike chmnet <verb>`: train and score CHMNet on pairs with annotated key points."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from lookalike.methods.chm_corr import KernelKind

app = typer.Typer(name="chmnet", no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
Folder = Annotated[Path, typer.Argument(help="Folder that the archive of the pairs unpacks to.")]
Side = Annotated[int, typer.Option(help="Side of the squashed images, pixels.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]


@app.command()
def train(
    layout: Annotated[Literal["pf_pascal", "spair71k"], typer.Argument(help="Layout of the pairs.")],
    folder: Folder,
    start: Annotated[Path, typer.Argument(help="Weights of a ResNet-101, or a checkpoint to go on from.")],
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
    kernel: Annotated[KernelKind, typer.Option(help="How weights are shared.")] = "psi",
    epochs: Annotated[int, typer.Option(help="Passes over the training pairs.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Pairs a step.")] = 20,
    side: Side = 240,
    seed: Annotated[int, typer.Option(help="Seed of initialisation and order.")] = 0,
    threads: Threads = 1,
) -> None:
    """Train CHMNet on pairs with annotated key points."""
    from lookalike.methods.chm_corr.pairs import train_chmnet

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    best = train_chmnet(layout, folder, out, start, kernel, epochs, batch_size, side, seed, threads)
    typer.echo(f"chmnet train {out}: best validation PCK@0.1 {best:.2%}")


@app.command()
def score(
    weights: Annotated[Path, typer.Argument(help="A checkpoint.")],
    layout: Annotated[Literal["pf_pascal", "spair71k", "pf_willow"], typer.Argument(help="Layout of the pairs.")],
    folder: Folder,
    split: Annotated[Literal["trn", "val", "test"], typer.Option(help="Part of the pairs.")] = "test",
    side: Side = 240,
    threads: Threads = 1,
) -> None:
    """Score a CHMNet by PCK on pairs with annotated key points."""
    from lookalike.methods.chm_corr.pairs import score_chmnet

    shares = score_chmnet(weights, layout, folder, split, side, threads)
    typer.echo(f"chmnet score {weights}: {', '.join(f'PCK@{alpha} {share:.2%}' for alpha, share in shares.items())}")
