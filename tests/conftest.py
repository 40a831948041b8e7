"""What holds for every test."""

import gc
import os

import hypothesis

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each worker, before NumPy or torch is loaded
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

hypothesis.settings.register_profile("busy", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("busy")

from tests.margin.shapes import check_margin  # noqa: E402  it loads NumPy, so not before the threads are set

check_margin()  # before anything imports the room


def pytest_collection_finish() -> None:
    """Leave what the modules hold, a million objects, out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let go of it again, so that libraries which count what is left at the end find nothing."""
    gc.unfreeze()
