"""Critters: drawn by us, reproducible from a seed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import PreparedData
from lookalike.data.readers.critters import PARTS, POINTS, Pose, class_codes, class_name
from lookalike.data.settings import CrittersSettings


def draw(folder: Path, **options: object) -> PreparedData:
    chosen = CrittersSettings(source="critters", **options)  # type: ignore[arg-type]
    prepare_data(chosen, folder / chosen.prepared)
    return PreparedData(folder / chosen.prepared, chosen)


SMALL = {"size": 24, "train": 60, "test": 40}


def test_critters_come_again_and_have_their_own_randomness(tmp_path: Path) -> None:
    first, again = draw(tmp_path / "a", **SMALL), draw(tmp_path / "b", **SMALL)
    assert first.manifest["files"] == again.manifest["files"]
    other = draw(tmp_path / "a", **SMALL, seed=1)
    assert other.folder != first.folder
    assert (other.images[0] != first.images[0]).any()
    more = draw(tmp_path / "a", **{**SMALL, "train": 90})
    np.testing.assert_array_equal(more.images[:60], first.images[:60])
    assert np.bincount(first.index["label"][first.rows("test")]).tolist() == [4] * 10


@pytest.mark.parametrize("rate", [None, 0.0, 0.5, 1.0])
def test_scenes_follow_the_class_in_training_only(tmp_path: Path, rate: float | None) -> None:
    data = draw(tmp_path, size=16, train=1200, test=1200, scene_rate=rate)
    on_own_scene = data.index["environment"] == data.index["label"] % 4
    expected = 0.25 if rate is None else rate
    assert on_own_scene[data.rows("train")].mean() == pytest.approx(expected, abs=0.05)
    assert on_own_scene[data.rows("test")].mean() == pytest.approx(0.25, abs=0.05)


def test_key_points_lie_on_what_they_name(tmp_path: Path) -> None:
    data = draw(tmp_path, size=96, train=200, test=10, classes=5)
    points = data.column("points").reshape(-1, len(POINTS), 3)
    visible = points[..., 2] == 1
    assert ((points[..., :2] >= 0) & (points[..., :2] < 96))[visible].all()
    codes = data.manifest["codes"]
    for name, part in (("left ear", "ears"), ("wing", "wings"), ("tail", "tail")):
        has = np.array([codes[label][part] > 0 for label in data.index["label"]])
        shown = visible[:, POINTS.index(name)]
        assert not shown[~has].any()
        assert shown[has].mean() > 0.7
    eye = points[:, POINTS.index("eye")]
    for row in np.flatnonzero(eye[:, 2] == 1)[:60]:
        x, y = int(eye[row, 0]), int(eye[row, 1])
        patch = data.images[row][:, max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
        assert patch.max(0).min() < 60  # the pupil is black


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), u=st.floats(-1, 1), v=st.floats(-1, 1))
def test_poses_are_inverted(seed: int, u: float, v: float) -> None:
    pose = Pose(np.random.RandomState(seed))
    x, y = pose.to_image(u, v)
    back = pose.to_creature(np.array(x), np.array(y))
    np.testing.assert_allclose(back, (u, v), atol=1e-12)


@pytest.mark.parametrize("count", [2, 10, 60, 200])
def test_classes_differ_in_several_parts(count: int) -> None:
    codes = class_codes(count)
    assert len({class_name(code) for code in codes}) == count
    assert codes == class_codes(200)[:count]
    pairs = [(a, b) for row, a in enumerate(codes) for b in codes[:row]]
    assert min(sum(x != y for x, y in zip(a, b, strict=True)) for a, b in pairs) >= (4 if count <= 10 else 2)
    assert len(codes[0]) == len(PARTS)
