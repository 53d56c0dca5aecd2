"""Photographs and drawn creatures through every stage, on changed evaluation sets."""

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers.checkout import STUDY, TRAINING, Checkout, count, embedded
from PIL import Image


@pytest.mark.long
def test_own_images_corruptions_patch_and_options(checkout: Checkout) -> None:
    """Photographs and drawn creatures through every stage, on changed evaluation sets; nothing is due afterwards."""
    make_own_images(checkout.folder / "mine")
    datasets = {
        "mine": {"source": "image_folder", "path": "mine", "size": 24, "resize": 28, "validation_size": 4},
        "biased": {
            "source": "critters",
            "size": 16,
            "train": 40,
            "test": 20,
            "classes": 4,
            "scene_rate": 0.9,
            "validation_size": 4,
        },
    }
    training = {**TRAINING, "resized_crop": [0.3, 1.0], "flip": True}
    study = {
        **STUDY,
        "name": "made",
        "datasets": datasets,
        "train_sizes": ["all"],
        "evaluation_sets": ["test", "validation", "test-gaussian_blur-5", "test-adversarial_patch"],
        "adversarial_patch": {"model": "fc", "target": 1, "area": 0.1, "images": 3, "epochs": 1, "iterations": 2},
        "models": {
            "fc": {"method": "fc", "training": training},
            "knn": {"method": "knn", "backbone_from": "fc", "inference": {"k": 3}},
        },
    }
    checkout.write(study)
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 2, "train": 2, "evaluate": 16, "explain": 4}
    assert rules.count("train_adversarial_patch") == 2  # one a data set, which both models' queries carry
    assert rules.count("embed_queries") == 8  # two changed sets of four runs
    folder = checkout.folder / "results" / "made"
    assert (folder / "figures/weights-mine-knn-all-vote-test.png").stat().st_size > 1000
    with open(folder / "tables" / "accuracy.csv") as handle:
        sets = {(row["dataset"], row["evaluation_set"]) for row in csv.DictReader(handle)}
    assert sets == {(name, split) for name in datasets for split in study["evaluation_sets"]}
    assert checkout.run() == []
    # Another data set's images for the models of one: nothing but these queries is embedded.
    others = {"source": "critters", "size": 16, "test": 10, "train": 4, "classes": 4, "seed": 1}
    checkout.write({**study, "datasets": {**datasets, "moved": {**others, "evaluated_with": "biased"}}})
    rules = checkout.run("tables")
    assert count(rules) == {"prepare_data": 1, "train": 0, "evaluate": 2, "explain": 0}
    assert (embedded(rules), rules.count("embed_queries")) == (0, 2)
    with open(folder / "tables" / "accuracy.csv") as handle:
        assert {row["dataset"] for row in csv.DictReader(handle) if row["evaluation_set"] == "moved"} == {"biased"}
    # How a set is read changes its runs; what is on disk stays.
    datasets = {**datasets, "mine": {**datasets["mine"], "fit": "squash"}}
    checkout.write({**study, "datasets": datasets})
    rules = checkout.run("tables")
    assert (rules.count("prepare_data"), rules.count("train"), rules.count("evaluate")) == (0, 1, 8)
    # An image of the user's that changes is noticed.
    image = checkout.folder / "mine/train/red/0.png"
    Image.open(image).rotate(180).save(image)
    rules = checkout.run("tables")
    assert (rules.count("prepare_data"), rules.count("train"), rules.count("evaluate")) == (1, 1, 8)
    assert checkout.run("tables") == []
    checkout.write(STUDY)


def make_own_images(folder: Path) -> None:
    """Pictures of two colours and several sizes."""
    random = np.random.RandomState(0)
    for split, images in (("train", 12), ("test", 5)):
        for label, name in enumerate(("red", "blue")):
            (folder / split / name).mkdir(parents=True)
            for number in range(images):
                pixels = random.randint(0, 80, (30 + number, 40 - number, 3)).astype(np.uint8)
                pixels[..., 2 * label] += 150
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
