"""What a study says about a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from lookalike.contracts.settings import ReadFrom, Settings, SmokeAtMost, WeightsFile, marked_keys, settings_read_by
from lookalike.core.files import digest
from lookalike.data.registry import DATA_SETS

CACHED_BYTES = 256 * 341 * 3  # a decoded photograph of ratio 4:3, shorter side 256
PUBLISHED_CLEAN = 44_424  # a test compares it with the list that ships
OWN_SETTINGS = ("critters", "image_folder", "cub200", "imagenet")
# Names alone, so that reading a study loads no torch; tests compare them with what they name.
FILTERS = ("unlabelled", "duplicates", "greyscale", "small")
CORRUPTIONS = ("gaussian_noise", "gaussian_blur")
SEVERITIES = (1, 2, 3, 4, 5)


Channel = Annotated[float, Field(ge=0, le=1)]


class Normalization(Settings):
    """Pixels in [0, 1] less `mean`, divided by `std`; one number a channel."""

    mean: Annotated[tuple[Channel, ...], Field(min_length=1)] = Field(description="Mean of each channel.")
    std: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = Field(
        description="Standard deviation of each channel."
    )

    @model_validator(mode="after")
    def _same_channels(self) -> Normalization:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}; give one of each a channel")
        return self


@dataclass(frozen=True)
class OnDisk:
    """Marks a key that changes what is on disk; the others act when images are read."""


class DataSettings(Settings):
    """What every data set of a study has."""

    source: str = Field(description="Name of a row of the data registry.")
    train_on: Literal["train", "trainval"] = Field(
        "train", description="`trainval` adds the source's own validation part to the training images."
    )
    validation_size: Annotated[int, Field(ge=0), SmokeAtMost(4)] = Field(
        0, description="Training images that are kept back, drawn by seed; they are evaluation set `validation`."
    )
    draw: Literal["balanced", "uniform"] = Field(
        "balanced",
        description="How training subsets and the validation part are drawn; both are nested. `uniform` is the draw of "
        "Memory Wrap's authors.",
    )
    train_sizes: Annotated[
        Annotated[tuple[Literal["all"] | Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None, ReadFrom(None)
    ] = Field(None, description="The study's training sizes that this data set has; all when left out.")
    evaluation_sets: Annotated[Annotated[tuple[str, ...], Field(min_length=1)] | None, ReadFrom(None)] = Field(
        None, description="The study's evaluation sets that this data set has; all when left out."
    )
    normalization: Normalization | None = Field(
        None,
        description="Mean and standard deviation of pixels in [0, 1]; left out, those of the training images, or "
        "ImageNet's.",
    )
    evaluated_with: Annotated[str | None, ReadFrom(None)] = Field(
        None,
        description="Another entry, whose models classify this one's test images: an evaluation set of this entry's "
        "name. Nothing is trained on it.",
    )
    ood_for: Annotated[str | None, ReadFrom(None)] = Field(
        None,
        description="Another entry, to whose models this one's test images, resized and recoloured to its own, are "
        "out-of-distribution. Nothing is trained on it.",
    )
    class_subset: Annotated[Literal["present", "all"], ReadFrom("evaluate")] = Field(
        "present",
        description="Classes that an image may be given, with `evaluated_with`: those that occur in the set, or all.",
    )

    @property
    def models_of(self) -> str | None:
        """The entry whose models see this one's test images; None where models are trained on it."""
        return self.evaluated_with or self.ood_for

    @property
    def prepared(self) -> str:
        """Folder below results/data: the source's name, and a digest where what is on disk is not the default."""
        options = self.prepare_options()
        return f"{self.source}-{digest(options)[:8]}" if options else self.source

    @property
    def needs_filters(self) -> bool:
        """Whether the test images are those that our own filters leave."""
        return False

    @property
    def path_of_images(self) -> str | None:
        """The user's own images; None for a set of the registry's files."""
        return None

    @model_validator(mode="after")
    def _one_role(self) -> DataSettings:
        if self.evaluated_with is not None and self.ood_for is not None:
            raise ValueError("images are either evaluated_with or ood_for another entry; take one of the two out")
        return self

    def prepare_options(self) -> dict[str, Any]:
        """The settings that change what is on disk, where they are not the default."""
        values, fields = self.model_dump(mode="json"), type(self).model_fields
        return {
            path[0]: values[path[0]] for path, value, _ in marked_keys(self, OnDisk) if value != fields[path[0]].default
        }

    def reading(self) -> dict[str, Any]:
        """The settings that training reads."""
        return settings_read_by(self, "train")

    def choosing(self) -> dict[str, Any]:
        """The settings that only choose queries, and whether these are out-of-distribution."""
        trained = self.reading()
        choices = {key: value for key, value in settings_read_by(self, "evaluate").items() if key not in trained}
        return {**choices, "ood": True} if self.ood_for else choices

    def source_counts(self) -> dict[str, int]:
        """Images by split that the source must hold; empty where only the user's files tell."""
        return dict(DATA_SETS[self.source].images)

    def counts(self) -> dict[str, int]:
        """Images by split as this study uses them, before anything is fetched; kept-back images still in `train`."""
        counts = self.source_counts()
        if self.train_on == "trainval" and counts:
            counts["train"] += counts.pop("validation", 0)
        if self.validation_size and counts:
            counts["validation"] = self.validation_size
        return counts


def _named(form: str) -> Any:
    """The names of a form that need no settings class of their own."""
    return Literal[tuple(name for name, row in DATA_SETS.items() if row.form == form and name not in OWN_SETTINGS)]


class ArraySettings(DataSettings):
    """A set of small images."""

    source: _named("array")  # type: ignore[valid-type]
    size: Annotated[int, Field(ge=4)] | None = Field(
        None, description="Side of the images that models see, pixels: resized to it; as they are stored when left out."
    )
    channels: Literal[1, 3] | None = Field(None, description="Grey or coloured images; as stored when left out.")


class PhotographSettings(DataSettings):
    """A set of photographs of different sizes."""

    source: _named("files")  # type: ignore[valid-type]
    size: Annotated[int, Field(ge=8)] = Field(224, description="Side of the square images that models see, pixels.")
    resize: Annotated[int, Field(ge=8)] = Field(256, description="Shorter side before the centre is cut out, pixels.")
    fit: Literal["crop", "squash"] = Field("crop", description="`squash` resizes both sides to `size` instead.")
    cache: Annotated[bool, OnDisk()] = Field(
        False, description="Keep decoded images of shorter side 256 on disk instead of the files."
    )

    @model_validator(mode="after")
    def _crop_fits(self) -> PhotographSettings:
        if self.fit == "crop" and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) must be at least size ({self.size})")
        return self


class CubSettings(PhotographSettings):
    """CUB-200-2011."""

    source: Literal["cub200"]
    split: Literal["official", "swapped"] = Field(
        "official", description="`swapped` trains on the official test images, as the NW head's code did."
    )
    box: bool = Field(False, description="Cut every image to its bounding box first.")

    def counts(self) -> dict[str, int]:
        """Images by split."""
        counts = super().counts()
        return counts | {"train": counts["test"], "test": counts["train"]} if self.split == "swapped" else counts


class ImagenetSettings(PhotographSettings):
    """ImageNet."""

    source: Literal["imagenet"]
    queries: Annotated[Literal["all", "published_clean", "clean"], ReadFrom("evaluate")] = Field(
        "all", description="Test images: all, the published clean list, or our own filters' result."
    )
    duplicate_weights: Annotated[
        str | None, WeightsFile("lookalike.backbones.build:write_random_resnet50"), ReadFrom("evaluate")
    ] = Field(None, description="ResNet-50 weights (.pth or .safetensors) by which `queries: clean` finds duplicates.")

    @property
    def needs_filters(self) -> bool:
        """Whether the test images are those that our own filters leave."""
        return self.queries == "clean"

    @model_validator(mode="after")
    def _duplicates_need_weights(self) -> ImagenetSettings:
        if self.queries == "clean" and self.duplicate_weights is None:
            raise ValueError("queries: clean needs duplicate_weights: FILE, a ResNet-50")
        return self

    def counts(self) -> dict[str, int]:
        """Images by split; our own filters' count is known only afterwards."""
        counts = super().counts()
        return counts | {"test": PUBLISHED_CLEAN} if self.queries == "published_clean" else counts


class ImageFolderSettings(PhotographSettings):
    """The user's own images."""

    source: Literal["image_folder"]
    path: Annotated[str, OnDisk()] = Field(
        description="A folder with train/<class>/ and test/<class>/, or a CSV file with columns file, label, split."
    )

    @property
    def path_of_images(self) -> str | None:
        """The user's own images."""
        return self.path


class CrittersSettings(DataSettings):
    """The procedural creatures."""

    source: Literal["critters"]
    size: Annotated[int, Field(ge=16, le=1024), OnDisk()] = Field(64, description="Side of the images, pixels.")
    classes: Annotated[int, Field(ge=2, le=200), OnDisk()] = Field(10, description="Kinds of creatures.")
    train: Annotated[int, Field(ge=2), OnDisk()] = Field(600, description="Training images, all classes together.")
    test: Annotated[int, Field(ge=2), OnDisk()] = Field(300, description="Test images, all classes together.")
    scene_rate: Annotated[Annotated[float, Field(ge=0, le=1)] | None, OnDisk()] = Field(
        None,
        description="Share of training images on their class's own scene; in the test set the two are independent.",
    )
    seed: Annotated[int, Field(ge=0), OnDisk()] = Field(0, description="Seed of the drawings.")

    @model_validator(mode="after")
    def _every_class(self) -> CrittersSettings:
        if min(self.train, self.test) < self.classes:
            raise ValueError(f"train and test must hold at least one image of each of the {self.classes} classes")
        return self

    def source_counts(self) -> dict[str, int]:
        """Images by split."""
        return {"train": self.train, "test": self.test}


KINDS = (ArraySettings, PhotographSettings, CubSettings, ImagenetSettings, ImageFolderSettings, CrittersSettings)
# Told apart by the key `source`.
AnyDataSettings: Any = Annotated[Union[KINDS], Field(discriminator="source")]  # noqa: UP007


def settings_class(source: str) -> type[DataSettings]:
    """The settings class of a registry row."""
    special: dict[str, type[DataSettings]] = {
        "cub200": CubSettings,
        "imagenet": ImagenetSettings,
        "image_folder": ImageFolderSettings,
        "critters": CrittersSettings,
    }
    kind: type[DataSettings] = ArraySettings if DATA_SETS[source].form == "array" else PhotographSettings
    return special.get(source, kind)


def prepared_bytes(settings: DataSettings) -> int:
    """Expected size of a prepared data set; 0 where only the user's files tell."""
    row = DATA_SETS[settings.source]
    count = sum(settings.source_counts().values())
    if row.form == "files":
        return row.download_bytes if not getattr(settings, "cache", False) else count * CACHED_BYTES
    side = getattr(settings, "size", None) if not isinstance(settings, ArraySettings) else None
    return count * (3 * side**2 if side else math.prod(row.image_shape or ()))
