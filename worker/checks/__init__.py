"""What the limited child does with an upload: one kind each, :data:`worker.intake_checks.CHECKS` is the list."""
