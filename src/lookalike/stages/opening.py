"""What stages of a run open: data, classifier, support and embedded queries, each once and checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.classifier import Classifier
from lookalike.contracts.features import Features, ImageAccess
from lookalike.contracts.settings import MethodSettings, weights_files
from lookalike.core.determinism import pin_arithmetic
from lookalike.core.devices import best_device
from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, sha256
from lookalike.core.seeds import RunSeeds
from lookalike.core.tensor_store import load_tensors
from lookalike.data.adversarial_patch import place_patch
from lookalike.data.corruptions import APPLY
from lookalike.data.images import Images, open_images
from lookalike.data.prepared import Draw, PreparedData, open_data, open_evaluated, open_ood
from lookalike.methods.build import NetworkFiles, build_classifier, load_classifier
from lookalike.stages.task import GALLERY, Task
from lookalike.study.evaluation_sets import parse_evaluation_set
from lookalike.study.plan import Plan, RunSpec

Origin = dict[str, str]


@dataclass(frozen=True)
class OpenedRun:
    """A run's settings, data and network.

    Attributes:
        task: The job that opened it.
        settings: The model's entry of the study, as it is on the run's data set.
        seeds: Seeds of the run.
        data: The prepared data set, read as the study says.
        draw: Which of its images the run trains on.
        files: Weights that the classifier reads.
    """

    task: Task
    settings: MethodSettings
    seeds: RunSeeds
    data: PreparedData
    draw: Draw
    files: NetworkFiles
    _hashes: dict[Path, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def run(self) -> RunSpec:
        """The run."""
        return self.task.run

    @property
    def plan(self) -> Plan:
        """The study."""
        return self.task.plan

    def device(self) -> torch.device:
        """A GPU with room for one more run, else the CPU."""
        return best_device(self.plan.runs_per_gpu)

    def training_rows(self) -> np.ndarray:
        """(n,) index rows of the training images."""
        return self.data.training_rows(self.draw)

    def training_images(self, device: torch.device) -> Images:
        """The training images, without augmentation."""
        return open_images(self.data, self.training_rows(), device)

    def fresh_classifier(self) -> Classifier:
        """The classifier before its training."""
        seed = self.seeds.of_run("weights")
        return build_classifier(self.settings, self.files, self.data.image_shape, self.data.n_classes, seed)

    def classifier(self) -> Classifier:
        """The classifier with its weights, in evaluation mode; without its support.

        Raises:
            LookalikeError: A file of weights is missing, or is not what the run's training wrote.
        """
        for path in (self.files.weights, self.files.giver):
            if path is not None and read_json(path.with_name(self.run.record.name))["weights"] != self._sha256(path):
                raise LookalikeError(f"{path} was changed since its training ended; delete it and run again.")
        seed = self.seeds.of_run("weights")
        return load_classifier(self.settings, self.files, self.data.image_shape, self.data.n_classes, seed)

    def classifier_with_support(self) -> Classifier:
        """The classifier with what the stage `embed` left.

        Raises:
            LookalikeError: The store is missing, damaged or out of date.
        """
        classifier = self.classifier()
        classifier.load_support(load_tensors(self.run.support, self.support_origin()))
        return classifier

    # Where stores come from -----------------------------------------------------------------------

    def support_origin(self) -> Origin:
        """What the support store follows from: settings, code and seeds, and the bytes of weights and data."""
        paths: list[Path | None] = [self.files.weights]
        if self.files.weights is None:
            paths = [*map(Path, weights_files(self.settings).values()), self.files.giver]
        # A store is mapped into memory, and kernels take what is not aligned apart: the length of this text is part of
        # what fixes the last digits of predictions.
        return {
            "settings": self.task.fingerprint("embed", ""),
            "weights": hashlib.sha256("".join(self._sha256(path) for path in paths if path).encode()).hexdigest(),
            "data": self.data.hash,
        }

    def content_origin(self, data: PreparedData) -> Origin:
        """What results on a data set follow from, beside what they are of."""
        return {"data": data.hash, "weights": self.support_origin()["weights"]}

    def queries_origin(self, name: str, data: PreparedData) -> Origin:
        """What embedded queries of an evaluation set follow from.

        Args:
            name: Name of the evaluation set.
            data: The data set that its images come from.
        """
        if name in self.plan.unchanged_sets():
            return self.support_origin()
        return {
            **self.support_origin(),
            "settings": self.task.fingerprint("embed_queries", name),
            "queries": digest([data.hash, data.settings.choosing()]),
        }

    def gallery_origin(self) -> Origin:
        """What prepared training images follow from: how candidates are compared and counted does not matter."""
        return {
            "settings": self.task.fingerprint(GALLERY, ""),
            "weights": self.support_origin()["weights"],
            "data": self.data.hash,
            "images": hashlib.sha256(self.training_rows().tobytes()).hexdigest(),
        }

    def _sha256(self, path: Path) -> str:
        if path not in self._hashes:
            if not path.exists():
                raise LookalikeError(f"{path} is missing; run the stage that writes it, or put the file there.")
            self._hashes[path] = sha256(path)
        return self._hashes[path]

    def open_gallery(self, classifier: Classifier, images: Images) -> None:
        """Let a classifier prepare the training images, where its method compares images with them."""
        classifier.open_gallery(ImageAccess(images.load), self.run.gallery, self.gallery_origin())

    # Evaluation sets ------------------------------------------------------------------------------

    def data_of(self, name: str) -> PreparedData:
        """The data set that an evaluation set's images come from: the run's own, or that of another entry.

        Raises:
            LookalikeError: The other set has images of another size, or a class that the run's data set lacks.
        """
        if name not in self.plan.datasets:
            return self.data
        folder, settings = self.plan.data_folder(name), self.plan.datasets[name]
        if settings.ood_for is not None:
            return open_ood(self.data, folder, settings)
        return open_evaluated(self.data, name, folder, settings, self.run.dataset)

    def images_of(self, name: str, data: PreparedData, device: torch.device) -> Images:
        """The images of an evaluation set, changed as its name says.

        Args:
            name: Name of the evaluation set.
            data: The data set that its images come from.
            device: Device of the images.
        """
        if data is not self.data:
            return open_images(data, data.rows("test"), device)
        evaluation_set = parse_evaluation_set(name)
        images = open_images(data, data.evaluation_rows(self.draw, evaluation_set.split), device)
        if evaluation_set.corruption:
            corrupt, seed = APPLY[evaluation_set.corruption], self.seeds.of_dataset("corruption")
            images.change = lambda pixels, ids: corrupt(pixels, ids, evaluation_set.severity, seed)
        if evaluation_set.patched:
            patch = self.plan.adversarial_patch
            patched = self.plan.patching_run(self.run)
            images.change = place_patch(
                load_tensors(patched.adversarial_patch, patched.origin),
                "circle" if patch is None else patch.shape,
                self.seeds.of_dataset("patched"),
            )
        return images

    def queries(self, name: str, data: PreparedData) -> Features:
        """Embedded images of an evaluation set.

        Args:
            name: Name of the evaluation set.
            data: The data set that its images come from.

        Raises:
            LookalikeError: The store is missing, damaged or out of date.
        """
        return Features.of_tensors(load_tensors(self.run.queries(name), self.queries_origin(name, data)))


def open_run(task: Task) -> OpenedRun:
    """Open a run's settings, data and network, with its arithmetic pinned.

    Raises:
        LookalikeError: The prepared data are missing or damaged.
    """
    plan, run = task.plan, task.run
    pin_arithmetic(plan.threads)
    backbone, giver = plan.backbone_of(run.model), plan.giver_of(run)
    settings, seeds = plan.settings_of(run), plan.seeds_of(run)
    data = open_data(plan.data_folder(run.dataset), plan.datasets[run.dataset], BACKBONES[backbone.name].takes_levels)
    files = NetworkFiles(
        backbone,
        run.weights if settings.own_training is not None else None,
        None if giver is None else plan.weights_of(giver),
    )
    draw = Draw(run.dataset, None if run.size == "all" else int(run.size), seeds.draw, run.seed)
    return OpenedRun(task, settings, seeds, data, draw, files)
