"""Writes ``tests/data/recordings/`` with another implementation of the formats: ``pip install faery numpy``, run this.

Faery's wheel links code under the GPL and AGPL, so it is a maker of fixtures only, in an environment of its own, and
never a dependency. The events are drawn by :func:`events`, which the test draws again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, EVENTS = 64, 48, 400
FOLDER = Path(__file__).parent / "recordings"
DTYPE = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")])


def events() -> Any:
    """Events with gaps of all sizes, times that repeat, and a row of neighbours at one time."""
    draw = np.random.default_rng(7)
    found = np.zeros(EVENTS, DTYPE)
    found["t"] = 4000 + np.cumsum(draw.integers(0, 3, EVENTS) * draw.integers(0, 9000, EVENTS))
    found["x"], found["y"] = draw.integers(0, WIDTH, EVENTS), draw.integers(0, HEIGHT, EVENTS)
    found["on"] = draw.integers(0, 2, EVENTS)
    found["t"][100:140], found["y"][100:140], found["on"][100:140] = found["t"][100], 7, True
    found["x"][100:140] = np.arange(5, 45)
    return found


def main() -> None:
    from faery.extension import aedat, dat, es, evt

    FOLDER.mkdir(exist_ok=True)
    found = events()
    for version in ("evt2", "evt3"):
        with evt.Encoder(str(FOLDER / f"{version}.raw"), version, False, (WIDTH, HEIGHT), True) as encoder:
            encoder.write({"events": found})
    plain = np.zeros(EVENTS, np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("payload", "u1")]))
    for ours, theirs in (("t", "t"), ("x", "x"), ("y", "y"), ("payload", "on")):
        plain[ours] = found[theirs]
    with dat.Encoder(str(FOLDER / "cd.dat"), "dat2", "cd", False, (WIDTH, HEIGHT)) as encoder:
        encoder.write(plain)

    with es.Encoder(str(FOLDER / "dvs.es"), "dvs", False, (WIDTH, HEIGHT)) as encoder:
        encoder.write(found)
    both = np.zeros(EVENTS, np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("exposure", "?"), ("polarity", "?")]))
    for ours, theirs in (("t", "t"), ("x", "x"), ("y", "y"), ("polarity", "on")):
        both[ours] = found[theirs]
    both["exposure"] = np.arange(EVENTS) % 3 == 1  # exposure measurements, which are no contrast events
    with es.Encoder(str(FOLDER / "atis.es"), "atis", False, (WIDTH, HEIGHT)) as encoder:
        encoder.write(both)

    def text(value: str) -> Any:
        return aedat.DescriptionAttribute("string", value)

    def size(value: int) -> Any:
        return aedat.DescriptionAttribute("int", value)

    top = "/mainloop/Recorder/outInfo/"
    fields = {"sizeX": size(WIDTH), "sizeY": size(HEIGHT), "source": text("made")}
    info = aedat.DescriptionNode("info", f"{top}0/info/", fields, [])
    names = {"compression": "LZ4", "originalModuleName": "made", "originalOutputName": "events"}
    names |= {"typeDescription": "Array of events (polarity ON/OFF).", "typeIdentifier": "EVTS"}
    stream = aedat.DescriptionNode("0", f"{top}0/", {key: text(value) for key, value in names.items()}, [info])
    with aedat.Encoder(
        str(FOLDER / "events.aedat4"), [aedat.DescriptionNode("outInfo", top, {}, [stream])], ("lz4", 1)
    ) as encoder:
        encoder.write(0, found)


if __name__ == "__main__":
    main()
