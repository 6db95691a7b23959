"""The one error of this package."""


class ProgramError(ValueError):
    """A program folder, or an input to it, is not what docs/program.md says; the message says what was expected."""
