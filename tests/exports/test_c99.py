"""The C99 export compiled by a strict compiler, run under sanitizers, equal in every spike and state."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import NotRepresentable
from engine.exports.c99 import HEADER, SOURCE, export_c99
from engine.exports.registry import write_c99
from engine.specs.target_memory import Memory
from engine.steps.export import check_memory
from tests.exports.compiled import CC, STRICT, compiled, reference
from tests.program.programs import adversarial_program, random_input, random_program

pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler on this machine")


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(n, marks=pytest.mark.slow) for n in range(12, 150))])
def test_every_spike_and_state_of_random_programs(seed: int, tmp_path: Path) -> None:
    program = random_program(seed)
    x = random_input(program, seed, samples=1, steps=8)[0]
    assert compiled(program, x, tmp_path) == reference(program, x)


@pytest.mark.parametrize("kind", ["lif", "cubalif"])
def test_adversarial_programs(kind: str, tmp_path: Path) -> None:
    program = adversarial_program(kind)
    x = np.full((6, *program.input.shape), program.input.hi)
    assert compiled(program, x, tmp_path) == reference(program, x)


def test_a_long_sum_of_many_spikes_does_not_overflow() -> None:
    seen = set()
    for program in map(random_program, range(40)):
        many = program.layer(program.output).max_spikes > 1
        if program.readout == "spike_count":
            header = export_c99(program).header
            assert ("int64_t readout[" in header) == many
            seen.add(many)
    assert seen == {False, True}


def test_the_self_test_finds_a_changed_constant(tmp_path: Path) -> None:
    program = adversarial_program("lif")
    x = np.full((4, *program.input.shape), program.input.hi)
    compiled(program, x, tmp_path)
    source = (tmp_path / SOURCE).read_text()
    (tmp_path / SOURCE).write_text(source.replace("127", "0"))
    command = [str(CC), *STRICT, "-DSPIKEBIT_SELF_TEST", SOURCE, "main.c", "-o", "program"]
    subprocess.run(command, cwd=tmp_path, check=True)
    text = " ".join(str(int(value)) for value in x.reshape(-1))
    ran = subprocess.run(["./program"], cwd=tmp_path, input=text, capture_output=True, text=True, check=True)
    assert int(ran.stdout.split()[-1]) > 0


def test_no_name_of_an_upload_reaches_the_code() -> None:
    program = adversarial_program("lif")
    evil = '*/ #include "/etc/passwd"\n'
    layers = tuple(replace(la, name=la.name + evil) for la in program.layers)
    connections = tuple(
        replace(
            c, name=c.name + evil, target=c.target + evil, source=c.source if c.source[0] == "@" else c.source + evil
        )
        for c in program.connections
    )
    renamed = replace(program, layers=layers, connections=connections, output=program.output + evil)
    made = export_c99(renamed)
    assert "passwd" not in made.source.replace("_etc_passwd", "")
    assert made.source.count("#include") == export_c99(program).source.count("#include")


def test_nothing_of_libc_no_heap_and_a_size_that_is_printed(tmp_path: Path) -> None:
    """What the object needs from outside is memset and memcpy at most; the state is as large as the header says."""
    program = random_program(3)
    made = export_c99(program)
    assert set(re.findall(r"#include\s*(\S+)", made.header + made.source)) == {
        "<stdint.h>", "<string.h>", f'"{HEADER}"'
    }  # fmt: skip
    assert not re.search(r"\b(malloc|calloc|realloc|free|float|double)\b", made.source)
    (tmp_path / HEADER).write_text(made.header)
    (tmp_path / SOURCE).write_text(made.source)
    (tmp_path / "size.c").write_text(
        f'#include <stdio.h>\n#include "{HEADER}"\n'
        'int main(void) { printf("%zu", sizeof(spikebit_state)); return 0; }\n'
    )
    subprocess.run([str(CC), *STRICT, "-Os", "-c", SOURCE], cwd=tmp_path, check=True)
    subprocess.run([str(CC), "size.c", "-o", "size"], cwd=tmp_path, check=True)
    ran = subprocess.run(["./size"], cwd=tmp_path, capture_output=True, text=True, check=True)
    held = int(ran.stdout)
    assert made.state_bytes <= held <= made.state_bytes + 8 * 4 * len(program.layers) + 64  # padding alone
    if shutil.which("nm"):
        names = subprocess.run(
            ["nm", "--undefined-only", "spikebit_program.o"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert {line.split()[-1] for line in names.stdout.splitlines()} <= {"memset", "memcpy", "_GLOBAL_OFFSET_TABLE_"}


def test_a_program_beyond_the_machine_is_refused_after_the_export(tmp_path: Path) -> None:
    program = random_program(3)
    made = write_c99(program, random_input(program, 3), tmp_path)
    flash, ram = made.memory.flash_bytes, made.memory.ram_bytes
    assert flash is not None
    assert ram is not None
    check_memory("c99", made.memory, Memory(flash_bytes=flash, ram_bytes=ram))
    check_memory("c99", made.memory, Memory())
    for tight in (Memory(flash_bytes=flash - 1), Memory(ram_bytes=ram - 1)):
        with pytest.raises(NotRepresentable, match="code apart; allowed") as refused:
            check_memory("c99", made.memory, tight)
        assert refused.value.code == "target_violated"
