"""Scenes of the shapes data set: pictures and their annotated objects.

All randomness comes from the generator that the caller passes, so the same
generator state draws the same picture.
"""

from typing import NamedTuple

import cv2
import numpy as np

SUPERSAMPLING = 4  # per axis; area averaging makes outlines anti-aliased
FRACTION_BITS = 4  # of the fixed-point coordinates given to OpenCV

Contours = list[np.ndarray]  # closed polygons (C, 2); one in another is a hole


class Instance(NamedTuple):
    """One annotated object (or crowd) of a scene."""

    label: int  # index into CLASSES
    mask: np.ndarray  # (H, W) bool, the visible part
    crowd: bool


def _polar(radii, angles) -> np.ndarray:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)


def _circle(radius=1.0) -> np.ndarray:
    return _polar(radius, np.linspace(0, 2 * np.pi, 64, endpoint=False))


def _cross(arm=0.33) -> np.ndarray:
    """A plus sign; ``arm`` is half the width of its bars."""
    x = [-arm, arm, arm, 1, 1, arm, arm, -arm, -arm, -1, -1, -arm]
    y = [-1, -1, -arm, -arm, arm, arm, 1, 1, arm, arm, -arm, -arm]
    return np.stack([x, y], axis=-1)


# Outlines of about unit radius
OUTLINES: dict[str, Contours] = {
    'ellipse': [_circle() * (1, 0.7)],
    'triangle': [_polar(1.0, np.arange(3) * 2 * np.pi / 3)],
    'rectangle': [np.array([(-1, -0.6), (1, -0.6), (1, 0.6), (-1, 0.6)])],
    'star': [_polar(np.tile([1.0, 0.42], 5), np.arange(10) * np.pi / 5)],
    'cross': [_cross()],
    'ring': [_circle(), _circle(0.5)],
}
CLASSES: tuple[str, ...] = tuple(OUTLINES)


def _place(
    rng: np.random.Generator,
    contours: Contours,
    radius: float,
    centre: np.ndarray,
) -> Contours:
    """Stretch, rotate by up to 30 degrees, scale and move an outline."""
    angle = rng.uniform(-np.pi / 6, np.pi / 6)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    stretch = (1.0, rng.uniform(0.65, 1.0))
    return [(c * stretch) @ rotation.T * radius + centre for c in contours]


def _coverage(contours: Contours, size: int) -> np.ndarray:
    """Fraction of each pixel that an outline covers, (size, size) in 0..1."""
    scale = SUPERSAMPLING * 2**FRACTION_BITS
    canvas = np.zeros((size * SUPERSAMPLING,) * 2, np.uint8)
    cv2.fillPoly(
        canvas,
        [np.round(c * scale).astype(np.int32) for c in contours],
        color=255,
        shift=FRACTION_BITS,
    )
    return (
        cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA) / 255.0
    )


def _smooth_noise(
    rng: np.random.Generator, size: int, cells: int
) -> np.ndarray:
    """Noise of about ``cells`` blobs per axis, (size, size, 3) in 0..1."""
    coarse = rng.random((cells, cells, 3)).astype(np.float32)
    return np.clip(
        cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1
    )


def _vivid(rng: np.random.Generator) -> np.ndarray:
    """A saturated colour: one channel high, one low, one anything."""
    return rng.permutation(
        [rng.uniform(0.8, 1), rng.uniform(0, 0.4), rng.random()]
    )


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Stripes, checks, blobs or a gradient of two similar colours.

    Returns:
        (size, size, 3) in 0..1.
    """
    first = _vivid(rng)
    second = np.clip(first + rng.normal(0, 0.15, 3), 0, 1)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 16)
    y, x = np.mgrid[:size, :size]
    along = (x * np.cos(angle) + y * np.sin(angle)) / period
    across = (y * np.cos(angle) - x * np.sin(angle)) / period
    pattern = rng.choice(['stripes', 'checks', 'blobs', 'gradient'])
    if pattern == 'stripes':
        mix = np.sin(2 * np.pi * along) > 0
    elif pattern == 'checks':
        mix = (np.floor(along) + np.floor(across)) % 2
    elif pattern == 'blobs':
        mix = _smooth_noise(rng, size, size // 8)[..., 0]
    else:
        mix = (along - along.min()) / np.ptp(along)
    mix = np.asarray(mix, np.float32)[..., None]
    return first * mix + second * (1 - mix)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Blobs of colour behind lines and arcs, (size, size, 3) in 0..1."""
    image = (
        rng.uniform(0, 0.3)
        + 0.2 * _smooth_noise(rng, size, 4)
        + 0.2 * _smooth_noise(rng, size, size // 10)
    )
    for _ in range(rng.integers(2, 8)):
        start, stop = rng.integers(0, size, (2, 2)).tolist()
        colour, width = _vivid(rng).tolist(), int(rng.integers(1, 4))
        if rng.random() < 0.5:
            cv2.line(image, start, stop, colour, width, cv2.LINE_AA)
        else:
            axes = rng.integers(6, size // 2, 2).tolist()
            turn, sweep = rng.uniform(0, 360), rng.uniform(40, 200)
            cv2.ellipse(
                image, start, axes, turn, 0, sweep, colour, width, cv2.LINE_AA
            )
    return image


def _paint(image: np.ndarray, texture: np.ndarray, cover: np.ndarray) -> None:
    """Blend a texture into the image, in place."""
    image += cover[..., None] * (texture - image)


def _crowd(rng: np.random.Generator, image: np.ndarray) -> Instance:
    """Draw 12 to 24 small shapes of one class close together, in place."""
    size = len(image)
    label = int(rng.integers(len(CLASSES)))
    centre = rng.uniform(0.2 * size, 0.8 * size, 2)
    mask = np.zeros((size, size), bool)
    for _ in range(rng.integers(12, 25)):
        position = centre + rng.normal(0, 0.08 * size, 2)
        radius = rng.uniform(0.02, 0.04) * size
        contours = _place(rng, OUTLINES[CLASSES[label]], radius, position)
        cover = _coverage(contours, size)
        _paint(image, _texture(rng, size), cover)
        mask |= cover >= 0.5
    return Instance(label, mask, crowd=True)


def draw_scene(
    rng: np.random.Generator,
    size: int,
    min_area: int = 40,
    min_visible: float = 0.4,
) -> tuple[np.ndarray, list[Instance]]:
    """Draw one picture.

    Args:
        rng: source of all randomness.
        size: height and width in pixels.
        min_area: visible pixels that an annotated object has at least.
        min_visible: fraction of an annotated object that is at least visible,
            inside the picture and not covered by later objects.

    Returns:
        The picture, (size, size, 3) uint8 BGR, and its instances, in the order
        in which they were drawn. One picture in 25 has no objects; one in 15
        has a crowd.
    """
    image = _background(rng, size)
    instances: list[Instance] = []
    empty, crowded = rng.random(2) < (1 / 25, 1 / 15)
    if crowded and not empty:
        instances.append(_crowd(rng, image))
    whole_areas = [int(one.mask.sum()) for one in instances]
    for _ in range(0 if empty else rng.integers(1, 6)):
        label = int(rng.integers(len(CLASSES)))
        radius = size * np.exp(rng.uniform(np.log(0.07), np.log(0.38)))
        centre = rng.uniform(0, size, 2)
        contours = _place(rng, OUTLINES[CLASSES[label]], radius, centre)
        cover = _coverage(contours, size)
        _paint(image, _texture(rng, size), cover)
        mask = cover >= 0.5
        instances = [one._replace(mask=one.mask & ~mask) for one in instances]
        instances.append(Instance(label, mask, crowd=False))
        # The area with the part outside the picture, at half the scale
        shrunk = [c / 2 + size / 4 for c in contours]
        whole_areas.append(_coverage(shrunk, size).sum() * 4)
    image += rng.normal(0, 0.03, image.shape)
    kept = [
        one
        for one, whole in zip(instances, whole_areas)
        if one.mask.sum() >= max(min_area, min_visible * whole)
    ]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), kept
