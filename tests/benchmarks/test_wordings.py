"""The benchmark of words before the subject: what differs between its tables, and what does not."""

import pytest

from benchmarks.wordings import BEFORE, RULES, worded
from spillover.implication.asking import ask_stated
from spillover.jobs.priors import _shared
from spillover.knowledge.load import load
from spillover.knowledge.split import split
from spillover.knowledge.training import TrainingTable


@pytest.mark.parametrize("rule", RULES)
def test_only_the_words_before_the_subject_differ(rule: str) -> None:
    base = load(rule)
    for before, words in BEFORE.items():
        kb = worded(rule, before)
        asked = [relation.prompt for relation in kb.relations.values()]
        assert asked == [w + r.prompt for w, r in zip(words, base.relations.values(), strict=True)]
        assert split(kb, 0).bridges == split(base, 0).bridges
        table = TrainingTable.of_split(split(kb, 0))
        assert _shared(table, ask_stated(table)[0]) == (before in ("nothing", "the same words"))
