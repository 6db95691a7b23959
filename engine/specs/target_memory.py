"""Memories: those of a chip's cores, of a whole chip, of a microcontroller that the user names (torch-free).

Cores, source: sinabs 3.1.3, ``backend.dynapcnn``: ``DynapcnnLayer.memory_summary`` for the needs, ``chips.dynapcnn``
for the sizes, ``mapping`` for the assignment of one layer to one core. With f outputs, c inputs, a kernel of kh × kw
and f maps of h × w, ``pow2`` rounding up to a power of two::

    kernel = c · pow2(kh·kw) · pow2(f),   neurons = f · pow2(h) · pow2(w),   biases = f or 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from engine.specs.base import Spec


class Memory(Spec):
    """What the user's own machine has, in bytes; None: not said."""

    flash_bytes: int | None = Field(default=None, gt=0)
    ram_bytes: int | None = Field(default=None, gt=0)


UNSAID = Memory()


class Core(Spec):
    """What one core holds, in words of its own widths."""

    kernel: int
    neurons: int
    biases: int


class Block(Spec):
    """One weight layer as a core sees it; a linear layer is a convolution as large as the image that it reads."""

    kernel: tuple[int, int, int, int] = Field(description="Outputs, inputs, kernel rows, kernel columns")
    maps: tuple[int, int] = Field(default=(1, 1), description="Rows and columns of the weighted sum")
    biased: bool = False


def weights_of(block: Block) -> int:
    """Weights that are stored: a linear layer's kernel is as large as what it reads."""
    outputs, inputs, rows, columns = block.kernel
    return outputs * inputs * rows * columns


def needs(block: Block) -> Core:
    """The memory that a layer takes.

    Example:
        >>> needs(Block(kernel=(16, 2, 5, 5), maps=(16, 16)))
        Core(kernel=1024, neurons=4096, biases=0)
    """
    outputs, inputs, rows, columns = block.kernel
    return Core(
        kernel=inputs * _pow2(rows * columns) * _pow2(outputs),
        neurons=outputs * _pow2(block.maps[0]) * _pow2(block.maps[1]),
        biases=outputs if block.biased else 0,
    )


def fits(need: Core, core: Core) -> bool:
    """Whether a core holds it."""
    return need.kernel <= core.kernel and need.neurons <= core.neurons and need.biases <= core.biases


def most_outputs(block: Block, cores: Sequence[Core]) -> int:
    """The most outputs (channels) with which the layer would fit some core; 0 where none would."""
    outputs, *rest = block.kernel
    for fewer in range(outputs, 0, -1):
        smaller = block.model_copy(update={"kernel": (fewer, *rest)})
        if any(fits(needs(smaller), core) for core in cores):
            return fewer
    return 0


def unplaced(blocks: Mapping[str, Block], cores: Sequence[Core]) -> tuple[str, ...]:
    """Layers that find no core of their own in a largest assignment (augmenting paths).

    Example:
        >>> small, large = Core(kernel=64, neurons=8, biases=8), Core(kernel=1024, neurons=8, biases=8)
        >>> wide = Block(kernel=(8, 16, 1, 1))
        >>> unplaced({"a": wide, "b": wide}, [small, large])
        ('b',)
    """
    holder: dict[int, str] = {}

    def place(name: str, tried: set[int]) -> bool:
        for index, core in enumerate(cores):
            if index not in tried and fits(needs(blocks[name]), core):
                tried.add(index)
                if index not in holder or place(holder[index], tried):
                    holder[index] = name
                    return True
        return False

    return tuple(name for name in blocks if not place(name, set()))


def _pow2(value: int) -> int:
    return 1 << max(0, value - 1).bit_length()
