"""Scripts that run in the frameworks' venvs are no tests themselves."""

collect_ignore = ["faults.py", "more_networks.py", "odd_modules.py", "run_export.py", "run_tutorial.py"]
