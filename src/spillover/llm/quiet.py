"""Silence of the libraries: what matters of theirs is raised, and what is to be said we say ourselves."""

import logging
import warnings
from contextlib import ExitStack
from typing import Any

_LOGGERS = ("transformers", "peft", "accelerate", "huggingface_hub", "torch", "gguf")


class Quiet:
    """No library's progress bar, warning or advice for the length of a block."""

    def __enter__(self) -> None:
        import tqdm
        from transformers.utils import logging as theirs

        theirs.get_verbosity()  # sets their logger up, which would undo the level set below
        self._undo = ExitStack()
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            self._undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        self._undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")

        # Not every loader heeds transformers' own switch for bars, so none is drawn by any tqdm.
        bars: Any = tqdm.tqdm
        draw = bars.__init__

        def draw_nothing(bar: Any, *args: Any, **settings: Any) -> None:
            draw(bar, *args, **settings | {"disable": True})

        bars.__init__ = draw_nothing
        self._undo.callback(setattr, bars, "__init__", draw)

    def __exit__(self, *exc: object) -> None:
        self._undo.close()
