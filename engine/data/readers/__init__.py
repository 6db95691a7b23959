"""One torch-free reader per format; ``registry.READERS`` is the list."""
