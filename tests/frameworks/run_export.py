"""Runs exported files in their framework's venv: ``python run_export.py FOLDER``, of NAME.nir, NAME.py and NAME.npz."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.simplefilter("ignore")  # Norse warns of r, nirtorch of its age
for snippet in sorted(Path(sys.argv[1]).glob("*.py")):
    spec = importlib.util.spec_from_file_location("snippet", snippet)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with np.load(snippet.with_suffix(".npz")) as file:
        x, wanted = file["x"], file["counts"]
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():  # snnTorch's importer prints
        net = module.load(snippet.with_suffix(".nir"))
        spikes = module.run(net, torch.from_numpy(np.moveaxis(x, 1, 0).astype(np.float32)))
    found = spikes.sum(0).flatten(1).numpy()
    assert found.shape == wanted.shape, f"{snippet.stem}: {found.shape} instead of {wanted.shape}"
    differing = int((found != wanted).any(axis=1).sum())
    assert differing == 0, f"{snippet.stem}: counts of {differing} of {len(wanted)} samples differ"
    print(snippet.stem)
