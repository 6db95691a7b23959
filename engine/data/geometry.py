"""From the sensor to the shape of frames: crop, down-sampling and polarity channels.

Axes: a sample's frames are ``[time, polarity, row, column]``, or ``[time, unit]`` for one-dimensional sensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from engine.data.events import EventSource
from engine.errors import InvalidDataset
from engine.specs.data import MAX_SENSOR, Crop, Transform

MAX_SAMPLE_VALUES = 1 << 26  # values of one sample's frames: 256 MiB as float32


@dataclass(frozen=True)
class Geometry:
    """Sensor (rows, columns), the part that is kept, and the frames that come of it.

    ``channels`` is the length of the polarity axis, None where there is no such axis.
    """

    sensor: tuple[int, int]
    crop: Crop
    factor: int
    channels: int | None
    has_rows: bool

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one time step: ``ceil(kept / factor)`` pixels a side."""
        rows, columns = -(-self.crop.height // self.factor), -(-self.crop.width // self.factor)
        space = (rows, columns) if self.has_rows else (columns,)
        return space if self.channels is None else (self.channels, *space)

    @property
    def values(self) -> int:
        """Values of one time step."""
        return prod(self.sample_shape)


def geometry_of(source: EventSource, transform: Transform, sensor: tuple[int, int]) -> Geometry:
    """The geometry of a source under a transform.

    Args:
        source: says whether there are rows and polarities.
        transform: crop, factor, polarity.
        sensor: (rows, columns).

    Raises:
        InvalidDataset: ``invalid_sensor``, ``invalid_crop``, ``transform_not_applicable``.
    """
    if not all(1 <= size <= MAX_SENSOR for size in sensor):
        detail = f"expected a sensor of 1 to {MAX_SENSOR} rows and columns, found {sensor[0]} rows, {sensor[1]} columns"
        raise InvalidDataset("invalid_sensor", detail, "/transform/sensor")
    if transform.polarity != "keep" and not source.has_polarity:
        detail = f"expected polarity 'keep', since this format has no polarities, found {transform.polarity!r}"
        raise InvalidDataset("transform_not_applicable", detail, "/transform/polarity")
    crop = transform.crop or Crop(top=0, left=0, height=sensor[0], width=sensor[1])
    if crop.top + crop.height > sensor[0] or crop.left + crop.width > sensor[1]:
        detail = (
            f"expected a crop within the sensor of {sensor[0]} rows and {sensor[1]} columns, found rows {crop.top} to "
            f"{crop.top + crop.height - 1}, columns {crop.left} to {crop.left + crop.width - 1}"
        )
        raise InvalidDataset("invalid_crop", detail, "/transform/crop")
    channels = (2 if transform.polarity == "keep" else 1) if source.has_polarity else None
    return Geometry(sensor, crop, transform.downsample, channels, source.has_rows)


def check_size(steps: int, geometry: Geometry) -> None:
    """Refuse frames that no batch could hold.

    Raises:
        InvalidDataset: ``frames_too_large``.
    """
    if steps * geometry.values > MAX_SAMPLE_VALUES:
        shape = (steps, *geometry.sample_shape)
        detail = f"expected at most {MAX_SAMPLE_VALUES} values in the frames of a sample, found shape {shape}; "
        raise InvalidDataset("frames_too_large", f"{detail}bin, crop or down-sample more", "/transform")
