"""What checks, in every test, the types and shapes that the margin room promises."""

from contextlib import contextmanager

from beartype import BeartypeConf, beartype
from jaxtyping import config, install_import_hook

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is a number, too


def checked(function):
    """The function with its arguments and results checked.

    Left alone is what is private, and the problem: it takes any matrix and refuses the rest in its own words.
    """
    private = function.__name__.startswith("_") and not function.__name__.endswith("__")
    return function if private or function.__qualname__ == "MarginProblem.__init__" else _check(function)


def check_margin():
    """Check the room from here on, before anything has imported it.

    Ten rounds are checked of each kind of solve and each size: all others have the same shapes, and checking
    them takes longer than the tests themselves.
    """
    install_import_hook("spillover.margin", "tests.margin.shapes.checked")
    from spillover.margin.splitting import Splitting

    advance, seen = Splitting.advance, set()

    def advance_checked_once(self):
        problem, reduced = self._problem, self._reduced
        kind = type(reduced), type(self._logits), problem.norm, problem.hard
        rounds = (*kind, reduced.shape, reduced.logit_shape)
        with unchecked(config.jaxtyping_disable or rounds in seen):
            advance(self)
        seen.add(rounds)

    Splitting.advance = advance_checked_once


@contextmanager
def unchecked(disable=True):
    """Within this nothing is checked, unless `disable` is false."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", disable)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)
