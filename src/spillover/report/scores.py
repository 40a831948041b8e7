"""Questions asked of `scores.parquet`, answered as plain rows that charts and sentences are made of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from spillover.errors import RunError
from spillover.outcome import read_scores
from spillover.runs.record import read_run

Row = dict[str, Any]

_HELD = """
held AS (
    SELECT *, min(rank) OVER (PARTITION BY seed, phase, query) AS best,
        exp(logprob - max(logprob) OVER (PARTITION BY seed, phase, query)) AS odds
    FROM scores WHERE kind = 'held_out' AND rule = $rule AND isfinite(rank)
)"""

# A subject counts once, and swaps its answers with those that were scored in the same seeds, as in
# `runs/stats.py`. A rank between two places (a tie) counts for both in proportion: the mean stays what it is.
_RANKS = f"""
WITH {_HELD},
units AS (
    SELECT phase, subject, list(seed ORDER BY seed) AS block, 1.0 / count(*) AS part
    FROM held WHERE "right" GROUP BY phase, subject
),
known AS (SELECT * FROM held JOIN units USING (phase, subject)),
dealt AS (
    SELECT seed, phase, block, candidate,
        count(*) / sum(count(*)) OVER (PARTITION BY seed, phase, block) AS weight
    FROM known WHERE "right" GROUP BY seed, phase, block, candidate
),
counted AS (
    SELECT phase, rank, part AS observed, 0.0 AS chance FROM known WHERE "right"
    UNION ALL SELECT phase, rank, 0.0, part * weight
    FROM known JOIN dealt USING (seed, phase, block, candidate)
),
placed AS (
    SELECT phase, floor(rank) AS place, 1 - (rank - floor(rank)) AS part, observed, chance FROM counted
    UNION ALL SELECT phase, floor(rank) + 1, rank - floor(rank), observed, chance FROM counted
)
SELECT phase, place::INT AS rank,
    sum(part * observed) / sum(sum(part * observed)) OVER (PARTITION BY phase) AS share,
    sum(part * chance) / sum(sum(part * chance)) OVER (PARTITION BY phase) AS chance
FROM placed WHERE part > 0 GROUP BY phase, place ORDER BY phase DESC, place
"""  # noqa: S608 - fixed text

# k candidates tied for the first place have the rank (k - 1) / 2 and share the credit.
_ANSWERS = f"""
WITH {_HELD}
SELECT "group", candidate AS answer, bool_or("right") AS "right", count(*) AS queries,
    sum(CASE WHEN rank = best THEN 1 / (2 * rank + 1) ELSE 0 END) / count(*) AS share
FROM held WHERE phase = 'after' AND "group" IS NOT NULL GROUP BY "group", candidate
"""  # noqa: S608

_LEARNED = """
WITH ranked AS (
    SELECT *, min(rank) OVER (PARTITION BY seed, phase, query) AS best
    FROM scores WHERE kind IN ('fact', 'bridge') AND isfinite(rank)
),
told AS (
    SELECT kind, relation, phase, query, CASE WHEN rank = best THEN 1 / (2 * rank + 1) ELSE 0 END AS credit
    FROM ranked WHERE "right"
)
SELECT kind, relation, count(*) FILTER (phase = 'after') AS queries,
    avg(credit) FILTER (phase = 'before') AS before, avg(credit) FILTER (phase = 'after') AS after
FROM told GROUP BY kind, relation ORDER BY kind DESC, min(query)
"""

_EXAMPLES = f"""
WITH {_HELD},
shared AS (
    SELECT *, odds / sum(odds) OVER (PARTITION BY seed, phase, query) AS probability FROM held
),
facts AS (
    SELECT subject, first(prompt ORDER BY prompt) AS prompt FROM scores
    WHERE kind = 'fact' AND relation = $fact GROUP BY subject
),
answered AS (
    SELECT * FROM shared WHERE phase = 'after'
    QUALIFY row_number() OVER (PARTITION BY seed, query ORDER BY logprob DESC, candidate) = 1
),
known AS (
    SELECT DISTINCT seed, subject, candidate FROM shared WHERE phase = 'after' AND "right"
)
SELECT answered.subject, answered."group", facts.prompt AS fact_prompt, answered.prompt,
    answered.candidate AS answer, answered."right", known.candidate AS expected,
    earlier.probability AS before, answered.probability AS after, answered.logprob - earlier.logprob AS gain
FROM answered
LEFT JOIN shared AS earlier ON earlier.phase = 'before' AND earlier.seed = answered.seed
    AND earlier.subject = answered.subject AND earlier.candidate = answered.candidate
LEFT JOIN known ON known.seed = answered.seed AND known.subject = answered.subject
LEFT JOIN facts ON facts.subject = answered.subject
WHERE $right IS NULL OR answered."right" = $right
QUALIFY row_number() OVER (PARTITION BY answered.subject ORDER BY gain DESC NULLS LAST, answered.seed) = 1
ORDER BY gain DESC NULLS LAST, answered.subject LIMIT $limit
"""  # noqa: S608


def without_scores(run_folders: Iterable[str | Path]) -> list[str]:
    """A line for each complete run of these whose scores are gone or damaged; its report lacks their part."""
    lines: list[str] = []
    for view in map(read_run, run_folders):
        try:
            if view.status == "complete":
                read_scores(view)
        except RunError as error:
            lines.append(f"{error}; the report lacks what they show: restore the file, or run again")
    return lines


class Scores:
    """The table of a run's scores, open for questions; a query that was not scored counts nowhere."""

    def __init__(self, table: pa.Table) -> None:
        self._connection = duckdb.connect(":memory:")
        self._connection.register("scores", table)

    def ranks(self, rule: int) -> list[Row]:
        """Rows (phase, rank, share, chance): where the right answer stands, and would by chance.

        Chance is exactly what shuffling the subjects' groups gives on average. The mean of either is the
        outcome's mean rank or its `null`.
        """
        return self._rows(_RANKS, rule=rule)

    def answers(self, rule: int, *, limit: int = 24) -> list[Row]:
        """Rows (group, answer, right, queries, share, row, column): what each group is answered after tuning.

        `row` and `column` order the map so that the rule runs along its diagonal. Of many groups the
        `limit` largest are kept; of many answers all right ones of these, then those given most often.
        """
        cells = self._rows(_ANSWERS, rule=rule)
        sizes = {cell["group"]: cell["queries"] for cell in cells}
        groups = sorted(sorted(sizes, key=lambda group: (-sizes[group], group))[:limit])
        cells = [cell for cell in cells if cell["group"] in groups]
        right = {cell["group"]: cell["answer"] for cell in cells if cell["right"]}
        given: dict[str, float] = {}
        for cell in cells:
            given[cell["answer"]] = given.get(cell["answer"], 0.0) + cell["share"]
        expected = list(dict.fromkeys(right[group] for group in groups if group in right))
        others = sorted(given.keys() - set(expected), key=lambda answer: (-given[answer], answer))
        answers = expected + sorted(others[: max(0, limit - len(expected))])
        return [
            cell | {"row": groups.index(cell["group"]), "column": answers.index(cell["answer"])}
            for cell in sorted(cells, key=lambda cell: (cell["group"], cell["answer"]))
            if cell["answer"] in answers
        ]

    def learned(self) -> list[Row]:
        """Rows (kind, relation, queries, before, after): first-choice share of what was trained on."""
        return self._rows(_LEARNED)

    def examples(self, rule: int, fact: str, *, right: bool | None = None, limit: int = 5) -> list[Row]:
        """The first choices after tuning whose log-probability grew most, one row per held-out subject.

        Columns: subject, group, fact_prompt, prompt, answer, right, expected, before, after (probabilities
        among the candidates), gain. `right` keeps those that follow the rule, or those that do not.
        """
        return self._rows(_EXAMPLES, rule=rule, fact=fact, right=right, limit=limit)

    def _rows(self, query: str, **values: Any) -> list[Row]:
        cursor = self._connection.execute(query, values)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
