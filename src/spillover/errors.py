"""The exceptions of the house: each is one sentence that says what is wrong and what mends it.

Bad input or environment raises one of these and nothing else; the command line prints the
sentence and exits with 2. Imports nothing.
"""


class SpilloverError(Exception):
    """Base of every error a user can mend; its text is one clear line."""


class DataError(SpilloverError):
    """A knowledge base, table or prompt that cannot be used; names file and line where it has them."""


class ModelError(SpilloverError):
    """A model that cannot be found, fetched, trusted or loaded."""


class TrainingError(SpilloverError):
    """A fine-tuning run that cannot start or go on."""


class RunError(SpilloverError):
    """A run folder that is locked, broken, of another run, or not there."""
