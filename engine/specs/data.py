"""What may be asked of a dataset: its format, and the transform that turns its events into frames.

The transform is part of the dataset's identity: the canonical file's digest covers the source's digest and this.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.specs.base import Spec

Format = Literal["frames", "events", "shd", "nmnist", "recordings"]
MICROSECOND_S = 1e-6
MAX_STEPS = 65_536
MAX_SENSOR = 4096  # rows or columns; the largest event sensors have 1280


class TimeBins(Spec):
    """Step ``k`` counts the events of ``[k·bin_s, (k+1)·bin_s)``."""

    kind: Literal["time"] = "time"
    bin_s: float = Field(gt=0, le=3600, description="Length of a step in seconds, a whole number of microseconds")
    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Steps of a sample; null: as many as the longest sample needs"
    )
    late: Literal["drop", "last_step"] = Field(default="drop", description="Events after the last step")

    @model_validator(mode="after")
    def _whole_microseconds(self) -> Self:
        if abs(self.bin_s / MICROSECOND_S - self.bin_us) > 1e-3 or self.bin_us < 1:
            raise ValueError(f"bin_s: expected a whole number of microseconds, found {self.bin_s:g} s")
        return self

    @property
    def bin_us(self) -> int:
        """The length in microseconds."""
        return round(self.bin_s / MICROSECOND_S)


class CountBins(Spec):
    """Step ``k`` counts the events ``k·events`` to ``(k+1)·events − 1`` of those that crop and polarity keep."""

    kind: Literal["count"] = "count"
    events: int = Field(ge=1, le=1 << 24, description="Events in a step")
    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Steps of a sample; null: as many as the longest sample needs"
    )
    late: Literal["drop", "last_step"] = Field(default="drop", description="Events after the last step")


Binning = Annotated[TimeBins | CountBins, Field(discriminator="kind")]


class Crop(Spec):
    """The part of the sensor that is kept, in pixels before down-sampling."""

    top: int = Field(ge=0, lt=MAX_SENSOR)
    left: int = Field(ge=0, lt=MAX_SENSOR)
    height: int = Field(ge=1, le=MAX_SENSOR)
    width: int = Field(ge=1, le=MAX_SENSOR)


class SplitRule(Spec):
    """Samples held out by the seed alone, each class in the same proportion; for files without these splits."""

    test_fraction: float | None = Field(default=None, gt=0, lt=1, description="Of all samples; null: the file's own")
    validation_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="Of the training samples; null: the file's own, else each job holds out"
    )
    seed: int = Field(default=0, ge=0, lt=1 << 32)


class Transform(Spec):
    """From events to frames ``[time, polarity, row, column]`` (Heidelberg digits: ``[time, unit]``)."""

    binning: Binning | None = Field(default=None, description="Needed by every format but frames")
    polarity: Literal["keep", "merge", "on", "off"] = Field(
        default="keep", description="Two channels (index 1 is ON), one with both, or one with one of them"
    )
    crop: Crop | None = None
    downsample: int = Field(default=1, ge=1, le=256, description="Pixels on a side that become one; events are added")
    values: Literal["counts", "binary"] = Field(default="counts", description="Binary: a step has an event or has none")
    sensor: tuple[int, int] | None = Field(
        default=None, description="Rows and columns; null: as the file says, else the largest found"
    )
    start: Literal["file", "first_event"] | None = Field(
        default=None, description="What time 0 of a sample is; null: first_event for recordings, else file"
    )
    split: SplitRule | None = None

    @model_validator(mode="after")
    def _sensor_is_sane(self) -> Self:
        if self.sensor is not None and not all(1 <= size <= MAX_SENSOR for size in self.sensor):
            raise ValueError(f"sensor: expected rows and columns from 1 to {MAX_SENSOR}, found {self.sensor}")
        return self
