"""Is a band busy or idle: synthetic MIMO-OFDM bursts in noise, as spikes: ``python -m examples.spectrum.data OUT.npz``.

Made, not recorded. A sample is what two antennas receive in 16 sub-carriers over 32 OFDM symbols. Noise is complex
Gaussian; its power is known to ±1 dB only, which is what makes counting energy a weak detector. In busy samples a burst
of QPSK symbols fills 8 neighbouring sub-carriers for 12 to 24 symbols, through three Rayleigh-fading taps per antenna,
at a signal-to-noise ratio between −10 and 10 dB. A cell (antenna, sub-carrier) fires one line where its energy in a
symbol passes 1.5 times the nominal noise power and a second one above 3.5 times.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.frames_file import write_frames

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

ANTENNAS, CARRIERS, STEPS, TAPS = 2, 16, 32, 3
LEVELS = (1.5, 3.5)  # of the nominal noise power
WIDTH = 8  # sub-carriers of a burst
LENGTHS = (12, 24)  # symbols of a burst
SNR_DB = (-10.0, 10.0)
NOISE_DB = 1.0  # the noise power is uniform within this of its nominal value
SAMPLES = {"train": 3000, "val": 600, "test": 2000}
SEED = 20261124
INPUTS = ANTENNAS * CARRIERS * len(LEVELS)


@dataclass(frozen=True)
class Received:
    """Energies ``[sample, symbol, antenna, sub-carrier]``; 1 where busy; SNR in dB, nan where idle."""

    energy: Real
    busy: NDArray[np.int64]
    snr_db: Real


def received() -> dict[str, Received]:
    """All three splits, the same every time."""
    random = np.random.RandomState(SEED)
    return {part: _draw(count, random) for part, count in SAMPLES.items()}


def _draw(count: int, random: np.random.RandomState) -> Received:
    busy = np.arange(count, dtype=np.int64) % 2
    snr_db = random.uniform(*SNR_DB, count)
    shape = (count, STEPS, ANTENNAS, CARRIERS)
    power = 10 ** (random.uniform(-NOISE_DB, NOISE_DB, (count, 1, 1, 1)) / 10)
    noise = np.sqrt(power) * _gaussian(shape, random)
    qpsk = np.exp(1j * (np.pi / 4 + np.pi / 2 * random.randint(0, 4, (count, STEPS, 1, CARRIERS))))
    taps = _gaussian((count, 1, ANTENNAS, TAPS), random) / np.sqrt(TAPS)
    channel = np.fft.fft(taps, CARRIERS)
    amplitude = np.sqrt(10 ** (snr_db / 10)) * busy
    signal = amplitude[:, None, None, None] * _bursts(count, random) * channel * qpsk
    return Received(np.abs(signal + noise) ** 2, busy, np.where(busy == 1, snr_db, np.nan))


def _gaussian(shape: tuple[int, ...], random: np.random.RandomState) -> Complex:
    """Complex normal numbers of unit power."""
    parts = random.standard_normal((2, *shape)) * np.sqrt(0.5)
    drawn: Complex = parts[0] + 1j * parts[1]
    return drawn


def _bursts(count: int, random: np.random.RandomState) -> Real:
    """1 within the burst of each sample, ``[sample, symbol, 1, sub-carrier]``."""
    length = random.randint(LENGTHS[0], LENGTHS[1] + 1, (count, 1))
    begin = (random.random_sample((count, 1)) * (STEPS - length + 1)).astype(np.int64)
    first = random.randint(0, CARRIERS - WIDTH + 1, (count, 1))
    time, carrier = np.arange(STEPS), np.arange(CARRIERS)
    on = (time >= begin) & (time < begin + length)
    band = (carrier >= first) & (carrier < first + WIDTH)
    both: Real = (on[:, :, None] & band[:, None, :])[:, :, None, :].astype(np.float64)
    return both


def spikes(energy: Real) -> NDArray[np.uint8]:
    """Frames ``[sample, symbol, 64]`` of 0 and 1: antenna, sub-carrier, level."""
    above = energy[..., None] > np.asarray(LEVELS)
    return above.reshape(*energy.shape[:2], INPUTS).astype(np.uint8)


def arrays() -> dict[str, NDArray[np.generic]]:
    """The arrays of a frames file."""
    made: dict[str, NDArray[np.generic]] = {}
    for part, signals in received().items():
        made[f"x_{part}"] = spikes(signals.energy)
        made[f"y_{part}"] = signals.busy
    return made | {"classes": np.array(["idle", "busy"])}


def build(path: Path) -> Path:
    """Write the frames file and return its path: the same bytes every time."""
    return write_frames(path, arrays())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.spectrum.data OUT.npz")
    build(Path(sys.argv[1]))
