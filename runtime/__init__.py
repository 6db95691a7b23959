"""Reader, reference runner and verifier of Spikebit's integer programs; needs NumPy alone."""

from runtime.errors import ProgramError
from runtime.program import Connection, InputFormat, Layer, Leak, Program
from runtime.reader import parse_program, program_digest, read_program
from runtime.runner import State, Trace, run
from runtime.verify import VerifyResult, verify_folder

__all__ = [
    "Connection",
    "InputFormat",
    "Layer",
    "Leak",
    "Program",
    "ProgramError",
    "State",
    "Trace",
    "VerifyResult",
    "parse_program",
    "program_digest",
    "read_program",
    "run",
    "verify_folder",
]
