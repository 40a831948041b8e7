"""What holds for every test."""

import os

import hypothesis

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each worker, before NumPy or torch is loaded
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

hypothesis.settings.register_profile("busy", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("busy")

from tests.margin.shapes import check_margin  # noqa: E402  it loads NumPy, so not before the threads are set

check_margin()  # before anything imports the room
