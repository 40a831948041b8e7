"""Which interventions are compared: names on the command line -> arms, each one way to tune."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spillover.errors import LabError
from spillover.interventions.hooks import Intervention
from spillover.interventions.named import parse, spell

PLAIN = "none"
"""Name of the arm without an intervention, which is always there: what others are compared with."""

_TOGETHER = "+"
_APART = re.compile(r"\+(?=[a-z])")  # a value may hold a sum: freeze:layers=0-9+20-29

DEFAULT = (
    "early-stop",
    "early-stop+counterexamples",
    "early-stop+abstain",
    "early-stop+order:first=implications",
    "early-stop+inoculate",
    "early-stop+inoculate:text=placebo",
    "early-stop+known-facts",
    "early-stop+interleave",
    "early-stop+kl-anchor",
    "early-stop+steer",
    "early-stop+ablate-directions",
    "early-stop+ablate-directions:of=random",
    "early-stop+freeze:modules=mlp",
    "early-stop+lora:weight_decay=1",
    "early-stop+norm-penalty",
    "early-stop+norm-penalty:norm=frobenius,strength=30",
    "early-stop+merged-ov:rest=trained",
    "early-stop+ignore-topk",
    "early-stop:facts=0.6+freeze:modules=mlp",
)
"""One strength of every method, with its control where it has one, and the combination that meets all four
demands on the built-in demo and needs no more people (docs/LOG.md). All stop when the facts are learned,
which takes half the time of a plain tune or less, and shows what each does beyond that; without it some take
three times as long."""

QUICK = (
    "early-stop",
    "early-stop+counterexamples",
    "early-stop+kl-anchor",
    "early-stop+freeze:modules=mlp",
    "early-stop+ignore-topk",
)
"""Five of these, one of each kind: when to stop, what is taught, the loss, what is trained, the weights."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to tune."""

    interventions: tuple[Intervention, ...] = ()
    """In their order."""

    @property
    def name(self) -> str:
        """As `read_arms` reads it, without the knobs that are as by default."""
        return _TOGETHER.join(spell(each, brief=True) for each in self.interventions) or PLAIN


def read_arms(names: Sequence[str]) -> list[Arm]:
    """The plain arm and those of the names, each once: interventions, or several joined by "+".

    Raises TrainingError for a name, a knob or a value that there is not, LabError where nothing is left to
    compare.
    """
    arms = [Arm()]
    for name in names:
        parts = [] if name == PLAIN else _APART.split(name)
        arm = Arm(interventions=tuple(map(parse, parts)))
        if arm not in arms:
            arms.append(arm)
    if len(arms) == 1:
        raise LabError("nothing to compare with the plain tune; name interventions that do something")
    return arms
