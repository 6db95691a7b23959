"""What cannot be captured, and why."""

from __future__ import annotations


class CannotCapture(ValueError):
    """The network holds something that a NIR file or a dynamics profile cannot say; the message names the layer."""
