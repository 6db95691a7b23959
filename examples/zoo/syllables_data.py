"""Synthetic spoken syllables as a cochlea would send them: spikes of 40 frequency channels over 48 steps.

Made, not recorded: every class has three formant tracks (straight lines in channel × time, drawn once from a fixed
seed) that switch on and off; every sample warps them in time, shifts them in frequency, scales their loudness and
draws Bernoulli spikes over a noise floor. Classes come in pairs that differ in the order of their two halves alone, so
that counting spikes per channel does not tell them apart: the network has to use time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Real = NDArray[np.float64]

CHANNELS, STEPS, CLASSES, FORMANTS = 40, 48, 12, 3
TEMPLATE_SEED, SAMPLE_SEED = 20261124, 7
SAMPLES = {"train": 2400, "val": 480, "test": 1200}
WIDTH = 1.6  # channels, standard deviation of a formant
PEAK, NOISE = 0.45, 0.03  # spikes per channel and step
SHIFT, WARP, LOUDNESS = 1.2, 0.18, 0.30  # standard deviations: channels, relative duration, relative


def syllables() -> dict[str, NDArray[np.generic]]:
    """The arrays of a frames file: ``x`` is ``[sample, 48, 40]`` of 0 and 1."""
    tracks = _templates(np.random.RandomState(TEMPLATE_SEED))
    random = np.random.RandomState(SAMPLE_SEED)
    arrays: dict[str, NDArray[np.generic]] = {}
    for part, count in SAMPLES.items():
        labels = np.arange(count, dtype=np.int64) % CLASSES
        arrays[f"x_{part}"] = _spikes(tracks[labels], random)
        arrays[f"y_{part}"] = labels
    return arrays | {"classes": np.array([f"syllable {index}" for index in range(CLASSES)])}


def _templates(random: np.random.RandomState) -> Real:
    """Channel at both ends of each half of each formant, ``[class, half, formant, 2]``; odd classes swap the halves."""
    half = random.uniform(3, CHANNELS - 4, (CLASSES // 2, 2, FORMANTS, 2))
    return np.stack([half, half[:, ::-1]], 1).reshape(CLASSES, 2, FORMANTS, 2)


def _spikes(tracks: Real, random: np.random.RandomState) -> Bytes:
    """Spikes ``[sample, time, channel]`` for tracks ``[sample, half, formant, 2]``."""
    count = len(tracks)
    begin = random.uniform(1, 6, (count, 1))
    length = 36 * np.clip(1 + WARP * random.standard_normal((count, 1)), 0.6, 1.15)
    shift = SHIFT * random.standard_normal((count, 1, 1))
    loudness = np.clip(1 + LOUDNESS * random.standard_normal((count, 1, FORMANTS)), 0.3, 1.7)
    phase = (np.arange(STEPS) - begin) / length  # [sample, time], 0..1 while it sounds
    half = (phase >= 0.5).astype(np.int64)
    along = np.clip(2 * phase - half, 0, 1)[..., None]  # [sample, time, 1]
    ends = tracks[np.arange(count)[:, None], half]  # [sample, time, formant, 2]
    centre = ends[..., 0] + along * (ends[..., 1] - ends[..., 0]) + shift  # [sample, time, formant]
    bump = np.exp(-0.5 * ((np.arange(CHANNELS) - centre[..., None]) / WIDTH) ** 2)
    sounds = ((phase >= 0) & (phase < 1))[..., None]
    drive = (PEAK * loudness[..., None] * bump).sum(2) * sounds  # [sample, time, channel]
    spikes: Bytes = (random.random_sample(drive.shape) < NOISE + drive).astype(np.uint8)
    return spikes
