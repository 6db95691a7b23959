"""Scripts that run in another venv are no tests themselves."""

collect_ignore = ["lava_driver.py"]
