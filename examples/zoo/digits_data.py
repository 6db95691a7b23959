"""Handwritten digits in three spike encodings: a burst of noisy rates, first-spike latency, events of a moving image.

The images are scikit-learn's (see :mod:`examples.digits.data`). They are split by image, so that no copy of a test
image is in training; the training and validation images appear :data:`COPIES` times with draws of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from examples.digits.data import load_pixels, split

Bytes = NDArray[np.uint8]
Real = NDArray[np.float64]
Encode = Callable[
    [Real, np.random.RandomState], Bytes
]  # intensities [sample, 8, 8] in 0..1 → spikes [sample, time, ...]

TEST_SHARE, VALIDATION_SHARE, SPLIT_SEED = 0.3, 0.15, 1
COPIES = 3  # encodings of every training and validation image

RATE_STEPS, RATE, RATE_NOISE = 24, 0.50, 0.01
LATENCY_STEPS, LATENCY_JITTER, LATENCY_DROP, LATENCY_NOISE = 20, 0.7, 0.05, 0.02
MOTION_STEPS, CANVAS, CONTRAST, EVENT_DROP, EVENT_NOISE = 16, 12, 0.1, 0.05, 0.005


def encoded_digits(encode: Encode, seed: int) -> dict[str, NDArray[np.generic]]:
    """The arrays of a frames file: train, validation and test, 10 classes.

    Args:
        encode: one of this module's encodings.
        seed: of NumPy's frozen ``RandomState`` stream that the encoding draws from.
    """
    pixels, labels = load_pixels()
    images = pixels.reshape(-1, 8, 8)  # [sample, row, column]
    outer, test = split(labels, TEST_SHARE, SPLIT_SEED)
    inner, held = split(labels[outer], VALIDATION_SHARE, SPLIT_SEED)
    random = np.random.RandomState(seed)
    arrays: dict[str, NDArray[np.generic]] = {}
    for part, index in (("train", outer[inner]), ("val", outer[held]), ("test", test)):
        index = index if part == "test" else np.tile(index, COPIES)
        arrays[f"x_{part}"] = encode(images[index], random)
        arrays[f"y_{part}"] = labels[index]
    return arrays | {"classes": np.array([str(digit) for digit in range(10)])}


def noisy_rates(images: Real, random: np.random.RandomState) -> Bytes:
    """Few Bernoulli spikes over a noise floor: ``[sample, 24, 64]``."""
    chance = RATE_NOISE + (RATE - RATE_NOISE) * images.reshape(len(images), 1, 64)
    spikes: Bytes = (random.random_sample((len(images), RATE_STEPS, 64)) < chance).astype(np.uint8)
    return spikes


def latency(images: Real, random: np.random.RandomState) -> Bytes:
    """One spike a pixel, the brighter the earlier, with jitter, losses and stray spikes: ``[sample, 20, 64]``.

    A pixel of intensity p fires in step ``(1 − p)·(T − 1) + jitter``; pixels below 0.1 do not fire.
    """
    flat = images.reshape(len(images), 64)
    when = (1 - flat) * (LATENCY_STEPS - 1) + LATENCY_JITTER * random.standard_normal(flat.shape)
    step = np.clip(np.rint(when), 0, LATENCY_STEPS - 1).astype(np.int64)
    fires = (flat > 0.1) & (random.random_sample(flat.shape) > LATENCY_DROP)
    spikes = np.arange(LATENCY_STEPS)[None, :, None] == np.where(fires, step, -1)[:, None, :]
    # a stray spike in about 2 % of (pixel, sample) pairs
    stray = random.random_sample(spikes.shape) < LATENCY_NOISE / LATENCY_STEPS
    seen: Bytes = (spikes | stray).astype(np.uint8)
    return seen


def motion_events(images: Real, random: np.random.RandomState) -> Bytes:
    """OFF and ON events of an image that a saccading camera sees: ``[sample, 16, 2, 12, 12]``.

    Source of the protocol: N-MNIST (Orchard et al. 2015) moves the camera along a triangle. An event is a change of
    intensity by more than :data:`CONTRAST` between two steps; one in twenty is lost and noise is added.
    """
    start = random.uniform(1.5, 2.5, (len(images), 2))
    turn = random.uniform(0, np.pi / 3, len(images))
    frames = [_shifted(images, start + offset) for offset in _triangle(turn)]
    change = np.diff(np.stack(frames, 1), axis=1)  # [sample, time, row, column]
    events = np.stack([change < -CONTRAST, change > CONTRAST], 2)  # [sample, time, polarity, row, column]
    kept = events & (random.random_sample(events.shape) > EVENT_DROP)
    return (kept | (random.random_sample(events.shape) < EVENT_NOISE)).astype(np.uint8)


def _triangle(turn: Real) -> list[Real]:
    """Offsets ``[sample, 2]`` at the 17 ends of steps, along three saccades of 2.4 pixels, turned by ``turn``."""
    corners = np.stack([turn + 2 * np.pi * corner / 3 for corner in range(4)], 1)
    path = 1.4 * np.stack([np.cos(corners), np.sin(corners)], 2)  # [sample, corner, 2]
    moments = np.linspace(0, 3, MOTION_STEPS + 1)
    left = np.minimum(moments.astype(int), 2)
    return [path[:, k] + (moment - k) * (path[:, k + 1] - path[:, k]) for moment, k in zip(moments, left, strict=True)]


def _shifted(images: Real, offset: Real) -> Real:
    """Images on a canvas ``[sample, 12, 12]`` at real-valued offsets ``[sample, 2]``, bilinear."""
    place = np.arange(CANVAS)[None, :, None] - offset[:, None, :]  # [sample, canvas, axis]
    weights = np.maximum(0, 1 - np.abs(place[..., None] - np.arange(8)))  # [sample, canvas, axis, image]
    moved: Real = np.einsum("sri,sij,scj->src", weights[:, :, 0], images, weights[:, :, 1], optimize=True)
    return moved
