"""The border to the libraries that read and run models: whatever they come to there is one line of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spillover.errors import ModelError, SpilloverError, TrainingError
from spillover.llm.quiet import Quiet

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""How torch's plain RuntimeErrors say it: of the CPU's allocator, of CUDA, of its libraries."""

_LONGEST = 300  # characters of what a library says


@contextmanager
def border(fault: str, fix: str = "") -> Iterator[None]:
    """A silent block of a library's calls; what they raise is a ModelError: the fault, their words, the fix.

    Nothing of ours but errors for the user is raised inside, so that a mistake of ours still shows as one.
    """
    try:
        with Quiet():
            yield
    except SpilloverError:
        raise
    except BaseException as error:
        # Broken files lead libraries to any exception; one that panics in Rust raises what is none.
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise ModelError(f"{fault}: {told(error)}{fix and f'; {fix}'}") from error


def told(error: BaseException) -> str:
    """What a library's error says, on one line of at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    mismatch = [line for line in lines if "size mismatch" in line]  # torch's, one for each weight
    text = mismatch[0] if mismatch else " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@contextmanager
def within_memory(work: str) -> Iterator[None]:
    """A block whose want of memory, of the machine or the GPU, is a TrainingError that says what would do."""
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        wanting = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not (wanting or any(words in str(error) for words in _OUT_OF_MEMORY)):
            raise
        raise TrainingError(
            f"memory ran out in {work} ({told(error)}); use a smaller --batch-size, --lora 8, or more "
            "--processes with a GPU each"
        ) from error


def run(model: Any, **inputs: Any) -> Any:
    """A model's outputs. Raises ModelError where its configuration, its weights or the memory forbid it."""
    with border(f"model {model.name_or_path} cannot be run"):
        return model(return_dict=True, **inputs)
