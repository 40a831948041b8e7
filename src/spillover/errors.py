"""One small tree of exceptions, each one sentence.

The sentence says what is wrong and what mends it. Bad input or environment raises one of these and nothing
else; the command line prints the sentence and exits with 2. Imports nothing.
"""


class SpilloverError(Exception):
    """Base of every error a user can mend; its text is one clear line, whatever a file puts into it."""

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence))


class DataError(SpilloverError):
    """A knowledge base, table or prompt that cannot be used; names file and line where it has them."""


class ModelError(SpilloverError):
    """A model that cannot be found, fetched, trusted or loaded."""


class MarginError(SpilloverError):
    """A margin problem that is not one, or that has no solution; names the examples in conflict."""


class LabError(SpilloverError):
    """A task, model or training of the one-layer lab that cannot be, or a run of it that diverged."""


class InseparableError(MarginError):
    """A hard margin that cannot be kept; `examples` are in conflict, and without any one of them they are
    not.
    """

    def __init__(self, examples: list[int]) -> None:
        self.examples = examples
        shown = ", ".join(map(str, examples[:10])) + (", ..." if len(examples) > 10 else "")
        super().__init__(
            f"no W tells these {len(examples)} examples apart by a margin: {shown}; "
            "correct or drop one of them, or give a finite penalty (soft margin)"
        )


class TrainingError(SpilloverError):
    """A fine-tuning run that cannot start or go on."""


class RunError(SpilloverError):
    """A run folder that is locked, broken, of another run, or not there."""


class BusyError(RunError):
    """A folder that another process is writing."""


class OutputError(SpilloverError):
    """Standard output that cannot be written."""
