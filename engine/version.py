"""The engine's version: part of every report and of a program's provenance."""

ENGINE_VERSION = "0.1.0"
