"""Tables of facts written out, their certified max-margin solutions, and the margins of what is asked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np

from spillover.implication.margins import Fit, FitSettings, fit
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.schema import Triple
from spillover.margin.problem import Norm
from spillover.report.charts import Chart
from spillover.reproduce.style import SCALE, data, titled

Fact = tuple[str, str, str]
"""(subject, relation, answer)"""

TOLERANCE = 1e-6
"""The relative gap that is asked for; a margin is then known to about its square root."""

NOTHING = 0.01
"""A margin of at most that is called 0."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The margins of some questions that a table was never told, and what they are worth."""

    margin: float
    """Mean over the questions, of the right answer's logit less the largest other one's."""
    within: float
    """The same among the answers that the relation has in the table, and the right one."""
    gap: float
    """Relative, of the certified interval of the least norm."""


def ask(facts: Iterable[Fact], questions: Sequence[Fact], norm: Norm) -> Asked:
    """Solve the table's max-margin problem and ask; each question with its right answer.

    Features are e_s + e_r, every other answer of the table is an alternative (Huang et al. 2025, Theorem 1).
    A subject of whom the table tells nothing has the column 0, and an answer that nobody has is an
    alternative to all; relations must be in the table.
    """
    table = group_triples([Triple(subject=s, relation=r, answer=a) for s, r, a in facts])
    unknown = dict.fromkeys(answer for *_, answer in questions if answer not in table.answers)
    whole = replace(table, answers=(*table.answers, *unknown))
    solved = fit(whole, FitSettings(norm=norm, tol=TOLERANCE))
    logits_of, answers = _logits(solved), solved.patterns.answers
    over_all, within = [], []
    for subject, relation, answer in questions:
        logits, right = logits_of(subject, relation), answers.index(answer)
        over_all.append(_margin(logits, right))
        among = sorted({*map(answers.index, solved.patterns.answers_of(relation)), right})
        within.append(_margin(logits[among], among.index(right)))
    return Asked(
        margin=float(np.mean(over_all)),
        within=float(np.mean(within)),
        gap=solved.certificate.relative_gap,
    )


def _logits(solved: Fit) -> Callable[[str, str], np.ndarray]:
    """(subject, relation) -> W (e_s + e_r), (A,)."""
    patterns, solution = solved.patterns, solved.solution
    pattern_of = {row["subject"]: row["pattern"] for row in patterns.members.to_pylist()}

    def logits(subject: str, relation: str) -> np.ndarray:
        asked = len(patterns.subjects) + patterns.relations.index(relation)
        bias = solution.columns[solution.column_of[asked]]
        if subject not in pattern_of:
            return bias
        pattern = pattern_of[subject]
        return bias + solution.columns[solution.column_of[pattern]] / np.sqrt(patterns.subjects[pattern])

    return logits


def _margin(logits: np.ndarray, right: int) -> float:
    return float(logits[right] - np.delete(logits, right).max())


def column(rows: Sequence[dict[str, Any]], model: str, told: str, name: str = "margin") -> np.ndarray:
    """One number of the rows of a model and of what was told, in their order."""
    return np.array([row[name] for row in rows if (row["model"], row["told"]) == (model, told)])


def margin_chart(rows: Sequence[dict[str, Any]], told: Sequence[str], title: str, pairs: str) -> Chart:
    """Margins over the number of pairs, a panel for each of `told` and a line for each model."""
    panels = [
        alt.Chart(data([row for row in rows if row["told"] == one]))
        .mark_line(point=alt.OverlayMarkDef(size=60), strokeWidth=2)
        .encode(
            x=alt.X("pairs:O", title=pairs, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("margin:Q", title="margin", scale=alt.Scale(domain=[-2, 1])),
            color=alt.Color("model:N", scale=SCALE, legend=alt.Legend(title=None, orient="bottom")),
            tooltip=["pairs:O", "model:N", alt.Tooltip("margin:Q", format=".3f")],
        )
        .properties(width=640 / len(told), height=240, title=one)
        for one in told
    ]
    return titled(
        alt.hconcat(*panels, spacing=24), title, "Margin over every other answer in the certified solutions"
    )
