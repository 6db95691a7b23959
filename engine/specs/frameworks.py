"""Frameworks that a model can be written for, so that their own importers load it."""

from __future__ import annotations

from typing import Literal, get_args

Framework = Literal["norse", "snntorch", "spikingjelly"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)
