"""The paper's figures and theorems, trained anew and checked.

Their modules are imported when they are asked for: this file imports neither torch nor altair.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from spillover.errors import LabError

if TYPE_CHECKING:
    from spillover.reproduce.figure import Figure
    from spillover.reproduce.study import Study

FIGURES = {
    "dynamics": "factorized against merged: losses over time",
    "rank-sweep": "how many columns d_h the factorized model needs",
    "weights": "W_OV as trained, beside the two max-margin solutions",
    "theorem-1": "the trained direction against the certified optimum",
    "theorem-2": "held-out margin over bridges and held-out subjects",
    "theorem-3": "merged, W_KQ trained: never better than guessing",
    "bridges": "how many bridges it takes, and how long",
    "softmax": "does it carry over to softmax attention?",
    "small-start": "why held-out margins stay above the solution's",
    "weight-decay": "what decay does to the implicit bias, and what stays of it",
    "depth": "does the contrast survive heads, an MLP, a second layer?",
    "two-hop": "are two facts composed that were told apart?",
    "reversal": "is a fact known the other way round?",
}
"""Every reproduction of the one-layer model by its name, and what it is about."""

LANGUAGE_MODELS = {
    "table-1": "language models on five data sets (hours, or days; see --models)",
    "bridges-llm": "spillover over bridges per group (half an hour on two cores)",
    "output-value": "every head's product merged, or factorized (two hours)",
    "prior": "does what a model knows help, and resist? (a quarter of an hour)",
    "emergence": "when does the rule appear, before or after the facts? (half an hour)",
}
"""The same of language models, tuned for it."""


def load(name: str) -> "Figure":
    """The reproduction of that name; raises `LabError` where there is none."""
    if name not in FIGURES:
        names = ", ".join([*FIGURES, *LANGUAGE_MODELS])
        raise LabError(f"there is no reproduction {name!r}; it can be {names}, or all")
    return import_module(f"spillover.reproduce.{name.replace('-', '_')}").FIGURE


def load_study(name: str) -> "Study":
    """The one of language models of that name; raises `LabError` where there is none."""
    if name not in LANGUAGE_MODELS:
        names = ", ".join(LANGUAGE_MODELS)
        raise LabError(f"there is no reproduction {name!r} with language models; it can be {names}")
    return import_module(f"spillover.reproduce.{name.replace('-', '_')}").STUDY
