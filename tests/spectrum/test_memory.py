"""A large matrix is never held whole."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

PROGRAM = """
import sys
from pathlib import Path
from spillover.spectrum import singular
from spillover.spectrum.change import Difference, Weight
singular.PIECE = 1 << 18

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def measured(name, shape):
    weights = [Weight(file=Path(file), name=name, shape=shape) for file in sys.argv[1:]]
    return singular.spectrum(Difference(base=weights[0], tuned=weights[1]).values())

measured("small", (2000, 300))  # all that is loaded once
before = peak()
for name, shape in (("tall", (100_000, 300)), ("wide", (300, 100_000))):
    print(measured(name, shape).frobenius, (peak() - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's count of memory in use")
def test_two_folders_of_120_mb_take_a_few(tmp_path: Path) -> None:
    files = [tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"]
    shapes = {"small": (2000, 300), "tall": (100_000, 300), "wide": (300, 100_000)}
    for number, file in enumerate(files):
        tensors = {
            name: torch.full(shape, 1.0 + number, dtype=torch.bfloat16) for name, shape in shapes.items()
        }
        save_file(tensors, file)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, files)], capture_output=True, text=True, check=True
    )
    lines = [list(map(float, line.split())) for line in done.stdout.splitlines()]
    assert len(lines) == 2
    for (frobenius, megabytes), most in zip(lines, (40, 100), strict=True):
        assert frobenius == pytest.approx(30_000_000**0.5, rel=1e-9)
        assert megabytes < most  # in float64 it is 240 MB; columns touch all 60 MB of one file's tensor
