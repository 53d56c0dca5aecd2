"""Critters: coloured creatures on textured scenes, drawn by us, for what real sets cannot show.

A class is a combination of part shapes (body, head, ears, wings, tail, feet, pattern); colour, pose, scale and light
are random and say nothing about it. The index holds where each part is and whether it can be seen, and the scene as
environment; a study can tie scene to class in training. Every image depends on the seed and its own number alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from lookalike.core.seeds import derive_seed
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput

# Shapes of each part; the name of a class is made of one syllable a part.
PARTS = {"body": 3, "head": 3, "ears": 4, "wings": 3, "tail": 4, "feet": 3, "pattern": 3}
SYLLABLES = (
    ("b", "l", "t"),
    ("o", "i", "a"),
    ("", "n", "l", "s"),
    ("", "ve", "zu"),
    ("", "d", "p", "g"),
    ("k", "m", "r"),
    ("a", "e", "u"),
)
POINTS = ("body", "head", "eye", "left ear", "right ear", "wing", "tail", "hind foot", "fore foot")
SCENES = ("meadow", "sand", "water", "rock")
CONTRAST = 0.5  # of the scenes' textures: what stands before them must be seen
OCCLUDED = 0.4  # share of images with something in front of the creature
Grid = np.ndarray
Shape = Callable[[Grid, Grid], Grid]  # signed distance, negative inside, in units of the creature


def read(inputs: ReaderInput) -> RawData:
    """Draw the set that the settings describe."""
    settings = inputs.settings
    codes = class_codes(settings["classes"])
    splits = np.array(["train"] * settings["train"] + ["test"] * settings["test"])
    numbers = np.concatenate([np.arange(settings["train"]), np.arange(settings["test"])])
    labels = numbers % settings["classes"]
    images = np.empty((len(labels), 3, settings["size"], settings["size"]), np.uint8)
    scenes = np.empty(len(labels), np.int64)
    points = np.empty((len(labels), len(POINTS), 3), np.float32)
    for row, (split, number, label) in enumerate(zip(splits, numbers, labels, strict=True)):
        random = np.random.RandomState(derive_seed("critters", settings["seed"], str(split), int(number)) % 2**32)
        scenes[row] = draw_scene(random, int(label), settings["scene_rate"] if split == "train" else None)
        images[row], points[row] = draw_critter(random, codes[label], int(scenes[row]), settings["size"])
    return RawData(
        images=images,
        labels=labels.astype(np.int64),
        splits=splits,
        class_names=[class_name(code) for code in codes],
        sources=["drawn"] * len(labels),
        environments=scenes,
        points=points,
        point_names=POINTS,
        facts={"scenes": list(SCENES), "codes": [dict(zip(PARTS, map(int, code), strict=True)) for code in codes]},
    )


def class_codes(count: int) -> list[tuple[int, ...]]:
    """So many combinations of part shapes, any two of them different in several parts; the first ones stay the same."""
    every = list(itertools.product(*map(range, PARTS.values())))
    order = np.random.RandomState(0).permutation(len(every))
    chosen: list[tuple[int, ...]] = []
    for distance in (5, 4, 3, 2, 1):
        for row in order:
            if len(chosen) == count:
                return chosen
            code = every[row]
            if all(sum(a != b for a, b in zip(code, other, strict=True)) >= distance for other in chosen):
                chosen.append(code)
    return chosen


def class_name(code: tuple[int, ...]) -> str:
    """A name that tells the parts: `bondka`."""
    return "".join(part[shape] for part, shape in zip(SYLLABLES, code, strict=True))


def draw_scene(random: np.random.RandomState, label: int, rate: float | None) -> int:
    """A scene: the class's own with probability `rate`, else another; uniform without a rate."""
    chance, other = random.uniform(), random.randint(len(SCENES) - 1)
    if rate is None:
        return int(random.randint(len(SCENES)))
    usual = label % len(SCENES)
    return usual if chance < rate else (usual + 1 + other) % len(SCENES)


def draw_critter(
    random: np.random.RandomState, code: tuple[int, ...], scene: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One image (3, size, size) uint8 and its key points (K, 3): x, y in pixels, visibility.

    Args:
        random: Stream of this image.
        code: Shape of each part.
        scene: Row of `SCENES`.
        size: Side, pixels.
    """
    parts = dict(zip(PARTS, code, strict=True))
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    picture = paint_scene(random, scene, x, y)
    place = Pose(random)
    u, v = place.to_creature(x, y)
    edge = 2 / size / place.scale  # one pixel, in units of the creature
    hue, second = random.uniform(size=2)
    body = colour(hue, random.uniform(0.45, 0.9), random.uniform(0.6, 0.95))
    trim = colour((hue + 0.25 + 0.5 * second) % 1, random.uniform(0.4, 0.9), random.uniform(0.45, 0.95))
    dark = 0.45 * body
    stripes = 0.35 * body + 0.65 * trim
    anchors: dict[str, tuple[float, float]] = {}

    def paint(shape: Grid, ink: np.ndarray) -> Grid:
        """Lay a shape with soft edges over the picture."""
        cover = np.clip(0.5 - shape / edge, 0, 1)
        picture[:] = picture * (1 - cover) + ink[:, None, None] * cover
        return cover

    _paint_tail(parts["tail"], u, v, trim, paint, anchors)
    _paint_feet(parts["feet"], u, v, dark, paint, anchors)
    torso = _body(parts["body"], u, v)
    paint(torso, body)
    anchors["body"] = (0.0, 0.0)
    _paint_pattern(parts["pattern"], u, v, torso, stripes, paint)
    _paint_wings(parts["wings"], u, v, trim, paint, anchors)
    _paint_head(parts["head"], parts["ears"], u, v, body, trim, paint, anchors)
    points = np.zeros((len(POINTS), 3), np.float32)
    for name, (at, down) in anchors.items():
        px, py = place.to_image(at, down)
        points[POINTS.index(name)] = (px + 1) / 2 * size, (py + 1) / 2 * size, 1
    hidden = _paint_occluder(random, scene, x, y, 2 / size, picture)
    for point in points:
        column, row = int(point[0]), int(point[1])
        point[2] *= 0 <= column < size and 0 <= row < size and hidden[min(row, size - 1), min(column, size - 1)] < 0.5
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.3)
    light = random.uniform(0.75, 1.15) * (1 + strength * (np.cos(angle) * x + np.sin(angle) * y))
    noise = random.normal(0, 0.015, picture.shape)
    return (np.clip(picture * light + noise, 0, 1) * 255 + 0.5).astype(np.uint8), points


class Pose:
    """Where a creature stands: centre, scale, rotation, and which way it looks."""

    def __init__(self, random: np.random.RandomState) -> None:
        self.scale = random.uniform(0.75, 0.95)
        self.x, self.y = random.uniform(-0.08, 0.08), random.uniform(0, 0.15)
        angle = random.uniform(-0.25, 0.25)
        self.cos, self.sin = np.cos(angle), np.sin(angle)
        self.facing = 1 if random.uniform() < 0.5 else -1

    def to_creature(self, x: Grid, y: Grid) -> tuple[Grid, Grid]:
        """Image coordinates in [-1, 1] to the creature's, which looks to the right."""
        dx, dy = (x - self.x) / self.scale, (y - self.y) / self.scale
        return self.facing * (self.cos * dx + self.sin * dy), -self.sin * dx + self.cos * dy

    def to_image(self, u: float, v: float) -> tuple[float, float]:
        """The inverse, for one point."""
        u *= self.facing
        return self.x + self.scale * (self.cos * u - self.sin * v), self.y + self.scale * (self.sin * u + self.cos * v)


# Shapes: signed distances ----------------------------------------------------------------------------


def ellipse(u: Grid, v: Grid, at: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> Grid:
    """Distance to an ellipse, exact on its edge to first order."""
    du, dv = u - at[0], v - at[1]
    a, b = np.cos(turn) * du + np.sin(turn) * dv, -np.sin(turn) * du + np.cos(turn) * dv
    far = np.hypot(a / radii[0], b / radii[1])
    steep = np.hypot(a / radii[0] ** 2, b / radii[1] ** 2)
    distance: Grid = far * (far - 1) / np.maximum(steep, 1e-6)
    return distance


def box(u: Grid, v: Grid, at: tuple[float, float], half: tuple[float, float], rounding: float) -> Grid:
    """Distance to a rounded box."""
    du, dv = np.abs(u - at[0]) - half[0] + rounding, np.abs(v - at[1]) - half[1] + rounding
    distance: Grid = np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) + np.minimum(np.maximum(du, dv), 0) - rounding
    return distance


def stroke(u: Grid, v: Grid, start: tuple[float, float], end: tuple[float, float], width: float) -> Grid:
    """Distance to a line with round ends."""
    du, dv = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du * du + dv * dv), 0, 1)
    distance: Grid = np.hypot(u - start[0] - along * du, v - start[1] - along * dv) - width
    return distance


def polygon(u: Grid, v: Grid, corners: list[tuple[float, float]]) -> Grid:
    """Distance to a convex polygon with clockwise corners (v points down)."""
    sides = []
    for (u0, v0), (u1, v1) in itertools.pairwise([*corners, corners[0]]):
        length = np.hypot(u1 - u0, v1 - v0)
        sides.append(((u - u0) * (v1 - v0) - (v - v0) * (u1 - u0)) / length)
    distance: Grid = np.maximum.reduce(sides)
    return distance


def _body(shape: int, u: Grid, v: Grid) -> Grid:
    if shape == 0:
        return ellipse(u, v, (0, 0), (0.42, 0.36))
    if shape == 1:
        return ellipse(u, v, (0, 0), (0.58, 0.24))
    return box(u, v, (0, 0), (0.44, 0.3), 0.1)


def _paint_head(
    head: int, ears: int, u: Grid, v: Grid, body: np.ndarray, trim: np.ndarray, paint: Any, anchors: Any
) -> None:
    at = (0.5, -0.34)
    for side, name in ((-0.13, "left ear"), (0.13, "right ear")):
        root = (at[0] + side, at[1] - 0.17)
        if ears == 1:
            low = root[1] + 0.05
            paint(polygon(u, v, [(root[0] - 0.1, low), (root[0], root[1] - 0.24), (root[0] + 0.1, low)]), trim)
        elif ears == 2:
            paint(ellipse(u, v, (root[0] + side * 0.5, root[1]), (0.12, 0.12)), trim)
        elif ears == 3:
            paint(ellipse(u, v, (root[0], root[1] - 0.14), (0.065, 0.26), side), trim)
        if ears:
            anchors[name] = (root[0] + (side * 0.5 if ears == 2 else 0), root[1] - (0, 0.06, 0, 0.14)[ears])
    if head == 0:
        paint(ellipse(u, v, at, (0.24, 0.24)), body)
    elif head == 1:
        paint(ellipse(u, v, at, (0.22, 0.2)), body)
        left = at[0] + 0.1
        paint(polygon(u, v, [(left, at[1] - 0.12), (left + 0.36, at[1] + 0.06), (left, at[1] + 0.17)]), trim)
    else:
        paint(box(u, v, at, (0.23, 0.21), 0.05), body)
    eye = (at[0] + 0.08, at[1] - 0.06)
    paint(ellipse(u, v, eye, (0.075, 0.075)), np.ones(3))
    paint(ellipse(u, v, (eye[0] + 0.02, eye[1]), (0.04, 0.04)), np.zeros(3))
    anchors["head"], anchors["eye"] = at, eye


def _paint_wings(wings: int, u: Grid, v: Grid, trim: np.ndarray, paint: Any, anchors: Any) -> None:
    if wings == 1:
        for number, turn in enumerate((0.5, 0.85, 1.2)):
            ink = trim * (1, 0.85, 0.7)[number]
            paint(ellipse(u, v, (-0.12 - 0.1 * number, -0.22 - 0.04 * number), (0.34, 0.085), turn), ink)
        anchors["wing"] = (-0.2, -0.28)
    elif wings == 2:
        for at, radii in (((-0.22, -0.5), (0.2, 0.3)), ((0.08, -0.46), (0.16, 0.26))):
            paint(ellipse(u, v, at, radii, -0.3), 0.5 * trim + 0.5)
            paint(ellipse(u, v, at, (radii[0] * 0.5, radii[1] * 0.5), -0.3), trim)
        anchors["wing"] = (-0.16, -0.44)


def _paint_tail(tail: int, u: Grid, v: Grid, trim: np.ndarray, paint: Any, anchors: Any) -> None:
    if tail == 1:
        paint(stroke(u, v, (-0.35, 0.05), (-0.72, -0.1), 0.045), trim)
        paint(stroke(u, v, (-0.72, -0.1), (-0.78, -0.42), 0.045), trim)
        anchors["tail"] = (-0.73, -0.14)
    elif tail == 2:
        paint(ellipse(u, v, (-0.64, -0.14), (0.3, 0.15), 0.7), trim)
        anchors["tail"] = (-0.64, -0.14)
    elif tail == 3:
        paint(polygon(u, v, [(-0.3, 0.04), (-0.86, 0.22), (-0.86, -0.4)]), trim)
        anchors["tail"] = (-0.7, -0.07)


def _paint_feet(feet: int, u: Grid, v: Grid, dark: np.ndarray, paint: Any, anchors: Any) -> None:
    if feet == 0:
        for at in (-0.2, 0.2):
            paint(stroke(u, v, (at, 0.2), (at, 0.46), 0.085), dark)
    elif feet == 1:
        for at in (-0.36, -0.14, 0.14, 0.36):
            paint(stroke(u, v, (at * 0.8, 0.1), (at, 0.52), 0.04), dark)
    else:
        for at in (-0.2, 0.22):
            paint(stroke(u, v, (at, 0.2), (at, 0.44), 0.04), dark)
            paint(polygon(u, v, [(at - 0.08, 0.54), (at, 0.38), (at + 0.24, 0.54)]), dark)
    anchors["hind foot"], anchors["fore foot"] = (
        ((-0.2, 0.42), (-0.36, 0.48), (-0.2, 0.48))[feet],
        (
            (0.2, 0.42),
            (0.36, 0.48),
            (0.22, 0.48),
        )[feet],
    )


def _paint_pattern(pattern: int, u: Grid, v: Grid, torso: Grid, ink: np.ndarray, paint: Any) -> None:
    if pattern == 1:
        paint(np.maximum(torso, 0.04 - np.abs((u + 0.3 * v) % 0.2 - 0.1)), ink)
    elif pattern == 2:
        row = np.floor(v / 0.19)
        across = (u + 0.095 * (row % 2)) % 0.19 - 0.095
        paint(np.maximum(torso, np.hypot(across, v - (row + 0.5) * 0.19) - 0.055), ink)


# Scenes ---------------------------------------------------------------------------------------------


def colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,) RGB of a hue, saturation, value in [0, 1]."""
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    shade: np.ndarray = value * (1 - saturation * (1 - wheel))
    return shade


def smooth_noise(random: np.random.RandomState, x: Grid, y: Grid, cells: int) -> Grid:
    """Noise in [0, 1] that changes over so many cells a side."""
    grid = random.uniform(size=(cells + 2, cells + 2))
    a, b = (x + 1) / 2 * cells, (y + 1) / 2 * cells
    column, row = np.floor(a).astype(int), np.floor(b).astype(int)
    s, t = a - column, b - row
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    top = grid[row, column] * (1 - s) + grid[row, column + 1] * s
    bottom = grid[row + 1, column] * (1 - s) + grid[row + 1, column + 1] * s
    mixed: Grid = top * (1 - t) + bottom * t
    return mixed


def paint_scene(random: np.random.RandomState, scene: int, x: Grid, y: Grid) -> np.ndarray:
    """(3, size, size) background of a scene: two colours mixed by its texture."""
    phase = random.uniform(0, 2 * np.pi, 3)
    coarse, fine = smooth_noise(random, x, y, 4), smooth_noise(random, x, y, 16)
    if scene == 0:
        low, high = colour(0.3, 0.6, 0.35), colour(0.24, 0.55, 0.75)
        texture = 0.5 * fine + 0.5 * (np.sin(40 * x + 6 * np.sin(5 * y + phase[0]) + phase[1]) > 0.55)
    elif scene == 1:
        low, high = colour(0.09, 0.45, 0.7), colour(0.13, 0.3, 0.95)
        texture = 0.5 + 0.35 * np.sin(9 * y + 2.5 * coarse + 1.5 * x + phase[0]) + 0.3 * (fine - 0.5)
    elif scene == 2:
        low, high = colour(0.6, 0.75, 0.45), colour(0.53, 0.45, 0.9)
        texture = 0.5 + 0.25 * np.sin(14 * y + 3 * np.sin(4 * x + phase[0])) + 0.25 * np.sin(9 * x + 11 * y + phase[1])
    else:
        low, high = colour(0.7, 0.1, 0.3), colour(0.08, 0.12, 0.7)
        texture = np.abs(coarse - 0.5) * 1.6 + 0.4 * np.floor(4 * fine) / 4
    texture = 0.5 + CONTRAST * (np.clip(texture, 0, 1) - 0.5)
    painted: np.ndarray = low[:, None, None] * (1 - texture) + high[:, None, None] * texture
    return painted


def _paint_occluder(
    random: np.random.RandomState, scene: int, x: Grid, y: Grid, edge: float, picture: np.ndarray
) -> Grid:
    """Something of the scene in front of the creature, in half of the images; returns how much it covers."""
    present, at, down, lean, shade = random.uniform(size=5)
    if present > OCCLUDED:
        return np.zeros_like(x)
    at, down = 1.4 * at - 0.7, 0.2 + 0.6 * down
    if scene == 0:
        shape = stroke(x, y, (at, 1.0), (at + lean - 0.5, 0.1), 0.06)
    elif scene == 2:
        shape = ellipse(x, y, (at, down + 0.3), (0.5, 0.09))
    else:
        shape = ellipse(x, y, (at, down + 0.2), (0.26, 0.2), lean)
    inks = (colour(0.28, 0.7, 0.3), colour(0.1, 0.5, 0.5), colour(0.52, 0.2, 0.95), colour(0.65, 0.1, 0.35))
    cover: Grid = np.clip(0.5 - shape / edge, 0, 1)
    picture[:] = picture * (1 - cover) + (inks[scene] * (0.8 + 0.4 * shade))[:, None, None] * cover
    return cover
