"""Client of the Spikebit service; import :mod:`spikebit.client` or :mod:`spikebit.runtime` for what you need."""

__version__ = "0.1.0"
