"""What a study says about a data set."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import Field, model_validator

from lookalike.data.registry import DATA_SETS
from lookalike.files import digest
from lookalike.settings import Settings

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

    mean: Annotated[tuple[Channel, ...], Field(min_length=1)]
    std: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _same_channels(self) -> Normalization:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}; give one of each a channel")
        return self


class DataSettings(Settings):
    """What every data set of a study has.

    Attributes:
        PREPARED: keys that change what is on disk; the others act when images are read.
        EVALUATED: keys that only choose queries: training does not read them.
        PLACES: keys that say what is run, and change no result.
    """

    PREPARED: ClassVar[tuple[str, ...]] = ()
    EVALUATED: ClassVar[tuple[str, ...]] = ("competing_classes",)
    PLACES: ClassVar[tuple[str, ...]] = ("sizes", "evaluation_sets", "queries_for", "outliers_for")
    source: str
    train_on: Literal["train", "trainval"] = Field(
        "train", description="`trainval` adds the source's own validation part to the training images."
    )
    held_out: Annotated[int, Field(ge=0)] = Field(
        0, description="Training images held out by seed; they are evaluation set `validation`."
    )
    draw: Literal["balanced", "memory_wrap"] = Field(
        "balanced",
        description="Training subsets: nested and class-balanced, or Memory Wrap's uniform draw (and held-out part).",
    )
    sizes: Annotated[tuple[Literal["all"] | Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = Field(
        None, description="Of the study's sizes, those of this data set; all when left out."
    )
    evaluation_sets: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="Of the study's evaluation sets, those of this data set; all when left out."
    )
    normalization: Normalization | None = Field(
        None, description="Mean and std of pixels in [0, 1]; left out, those of the training images, or ImageNet's."
    )
    queries_for: str | None = Field(
        None,
        description="Another entry, whose models classify this one's test images: an evaluation set of this entry's "
        "name. Nothing is trained on it.",
    )
    outliers_for: str | None = Field(
        None,
        description="Another entry, whose models are asked how strange they find this one's test images, resized and "
        "recoloured to its own. Nothing is trained on it.",
    )
    competing_classes: Literal["present", "all"] = Field(
        "present",
        description="With `queries_for`: the classes an image may be given, those that occur in the set or all.",
    )

    @property
    def asked_of(self) -> str | None:
        """The entry whose models see this one's test images; None where models are trained on it."""
        return self.queries_for or self.outliers_for

    @property
    def prepared(self) -> str:
        """Folder below results/data: the source's name, and a digest where what is on disk is not the default."""
        chosen = self.prepare_options()
        return f"{self.source}-{digest(chosen)[:8]}" if chosen else self.source

    @model_validator(mode="after")
    def _one_role(self) -> DataSettings:
        if self.queries_for is not None and self.outliers_for is not None:
            raise ValueError("images are either queries_for or outliers_for another entry; take one of the two out")
        return self

    def prepare_options(self) -> dict[str, Any]:
        """The settings that change what is on disk, where they are not the default."""
        values = self.model_dump(mode="json")
        defaults = {key: field.default for key, field in type(self).model_fields.items()}
        return {key: values[key] for key in self.PREPARED if values[key] != defaults[key]}

    def reading(self) -> dict[str, Any]:
        """The settings that training reads."""
        left_out = (*self.EVALUATED, *self.PLACES)
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in left_out}

    def choosing(self) -> dict[str, Any]:
        """The settings that only choose queries, and whether these are outliers."""
        found = {key: value for key, value in self.model_dump(mode="json").items() if key in self.EVALUATED}
        return {**found, "outliers": True} if self.outliers_for else found

    def source_counts(self) -> dict[str, int]:
        """Images by split that the source must hold; empty where only the user's files tell."""
        return dict(DATA_SETS[self.source].images)

    def counts(self) -> dict[str, int]:
        """Images by split as this study uses them, before anything is fetched; held-out images still in `train`."""
        counts = self.source_counts()
        if self.train_on == "trainval" and counts:
            counts["train"] += counts.pop("validation", 0)
        if self.held_out and counts:
            counts["validation"] = self.held_out
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

    PREPARED: ClassVar[tuple[str, ...]] = ("cache",)
    source: _named("files")  # type: ignore[valid-type]
    size: Annotated[int, Field(ge=8)] = Field(224, description="Side of the square images that models see, pixels.")
    resize: Annotated[int, Field(ge=8)] = Field(256, description="Shorter side before the centre is cut out, pixels.")
    fit: Literal["crop", "squash"] = Field("crop", description="`squash` resizes both sides to `size` instead.")
    cache: bool = Field(False, description="Keep decoded images of shorter side 256 on disk instead of the files.")

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

    EVALUATED: ClassVar[tuple[str, ...]] = (*DataSettings.EVALUATED, "queries", "duplicate_weights")
    source: Literal["imagenet"]
    queries: Literal["all", "published_clean", "clean"] = Field(
        "all", description="Test images: all, the published clean list, or our own filters' result."
    )
    duplicate_weights: str | None = Field(
        None, description="ResNet-50 weights (.pth or .safetensors) by which `queries: clean` finds duplicates."
    )

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

    PREPARED: ClassVar[tuple[str, ...]] = ("path", "cache")
    source: Literal["image_folder"]
    path: str = Field(
        description="A folder with train/<class>/ and test/<class>/, or a CSV file with columns file, label, split."
    )

    def prepare_options(self) -> dict[str, Any]:
        """The path always."""
        return super().prepare_options() | {"path": self.path}


class CrittersSettings(DataSettings):
    """The procedural creatures."""

    PREPARED: ClassVar[tuple[str, ...]] = ("size", "classes", "train", "test", "scene_rate", "seed")
    source: Literal["critters"]
    size: Annotated[int, Field(ge=16, le=1024)] = Field(64, description="Side of the images, pixels.")
    classes: Annotated[int, Field(ge=2, le=200)] = 10
    train: Annotated[int, Field(ge=2)] = Field(600, description="Training images, all classes together.")
    test: Annotated[int, Field(ge=2)] = Field(300, description="Test images, all classes together.")
    scene_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Share of training images on their class's own scene; in the test set the two are independent.",
    )
    seed: Annotated[int, Field(ge=0)] = 0

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
    own: dict[str, type[DataSettings]] = {
        "cub200": CubSettings,
        "imagenet": ImagenetSettings,
        "image_folder": ImageFolderSettings,
        "critters": CrittersSettings,
    }
    kind: type[DataSettings] = ArraySettings if DATA_SETS[source].form == "array" else PhotographSettings
    return own.get(source, kind)


def entry_settings(values: dict[str, Any]) -> DataSettings:
    """The settings of a plan's data set; `prepared`, which follows from the others, is left out."""
    given = {key: value for key, value in values.items() if key != "prepared"}
    return settings_class(given["source"]).model_validate(given)


def prepared_bytes(settings: DataSettings) -> int:
    """Expected size of a prepared data set; 0 where only the user's files tell."""
    row = DATA_SETS[settings.source]
    count = sum(settings.source_counts().values())
    if row.form == "files":
        return row.download_bytes if not getattr(settings, "cache", False) else count * CACHED_BYTES
    side = getattr(settings, "size", None) if not isinstance(settings, ArraySettings) else None
    return count * (3 * side**2 if side else math.prod(row.image_shape or ()))
