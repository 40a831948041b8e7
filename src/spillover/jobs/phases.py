"""What a model answered -> the rows of a run's score table."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from spillover.cells.folder import Answered
from spillover.knowledge.prompts import Query, Question
from spillover.outcome import ASKINGS, score_table


def phase_table(
    asked: Sequence[Query], answers: Mapping[Question, Answered], seed: int, phase: str
) -> pa.Table:
    """The queries of one seed, before or after its tune, with what was answered; see `outcome.SCORES`."""
    found = [answers[query.question] for query in asked]
    return score_table(
        asked,
        [answered.logprobs for answered in found],
        [answered.reasons for answered in found],
        seed=seed,
        phase=phase,
    )


def step_table(
    asked: Sequence[Query], answers: Mapping[Question, Answered], seed: int, step: int
) -> pa.Table:
    """The queries of one seed as they were answered after a step of its tune; see `outcome.ASKINGS`."""
    table, column = phase_table(asked, answers, seed, "during"), ASKINGS.field("step")
    return table.append_column(column, pa.array([step] * len(table), column.type))
