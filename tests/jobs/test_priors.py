"""What an untuned model already says: by hand from its log-probabilities, and what is asked of whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spillover.cells.compute import locate
from spillover.cells.folder import Answered
from spillover.implication.asking import ask_stated
from spillover.jobs import priors as job
from spillover.jobs.priors import Prior, priors
from spillover.knowledge.schema import KnowledgeBase, Triple
from spillover.knowledge.training import TrainingTable
from spillover.llm import models
from spillover.llm.score import score
from tests.jobs.test_calibrate import trial


def asked(kb: KnowledgeBase, tiny: str, place: Path | None = None) -> list[Prior | None]:
    table = TrainingTable.whole(kb)
    return priors(table, ask_stated(table), locate(tiny), place=place)


def with_distractor(kb: KnowledgeBase) -> KnowledgeBase:
    codes = replace(kb.relations["codes"], candidates=("d",))
    return replace(kb, relations={**kb.relations, "codes": codes})


def test_nats_and_rank_are_those_of_the_models_log_probabilities(tiny: str) -> None:
    kb = with_distractor(trial("lives", "codes", 1))
    (found,) = asked(kb, tiny)
    held_out = {f"b{i}": [t.subject for t in kb.triples if t.answer == f"b{i}"][1:] for i in range(3)}
    model, tokenizer = models.load(Path(tiny))
    nats, ranks = [], []
    for place, (group, people) in enumerate(held_out.items()):
        own = []
        for name in people:
            prompt = f"{name} lives {group}. {name} codes"
            question = job.Question(prompt=prompt, completions=(" c0", " c1", " c2", " d"))
            (logprobs,) = score(model, tokenizer, [question])
            shares = np.exp(logprobs) / np.exp(logprobs).sum()
            own.append(np.log(4 * shares[place]))
            ranks.append((logprobs > logprobs[place]).sum())
        nats.append(np.mean(own))
    assert found is not None
    assert found.nats == pytest.approx(np.mean(nats), abs=1e-4)
    assert found.rank == pytest.approx(np.mean(ranks))


def test_four_held_out_subjects_of_each_group_are_asked() -> None:
    kb = trial("lives", "codes", 1)
    more = [Triple(subject=f"z{i}", relation="lives", answer="b1") for i in range(9)]
    table = TrainingTable.whole(replace(kb, triples=(*kb.triples, *more)))
    groups = job._questions(table, ask_stated(table)[0])
    assert [len(group.asked) for group in groups] == [3, 4, 3]
    bridges = {t.subject for t in kb.triples if t.relation == "codes"}
    for place, group in enumerate(groups):
        assert group.right == place
        for question in group.asked:
            assert f"lives b{place}. " in question.prompt
            assert not any(question.prompt.startswith(f"{name} ") for name in bridges)


def test_in_a_place_it_is_asked_once(tiny: str, tmp_path: Path) -> None:
    kb = trial("lives", "codes", 1)
    first = asked(kb, tiny, tmp_path)
    (scores,) = tmp_path.rglob("scores.parquet")
    written = scores.stat().st_mtime_ns
    assert asked(kb, tiny, tmp_path) == first == asked(kb, tiny)
    assert scores.stat().st_mtime_ns == written


def test_there_is_no_prior_where_words_are_unknown_or_nobody_is_held_out(tiny: str) -> None:
    kb = trial("lives", "codes", 4)
    assert asked(kb, tiny) == [None]
    table = TrainingTable.whole(trial("lives", "codes", 1))
    (rule,) = ask_stated(table)
    assert priors(replace(table, asked={}), [rule], locate(tiny)) == [None]
    question = job.Question(prompt="Mara codes", completions=(" c0", " c1"))
    answered = Answered(logprobs=np.array([-1.0, np.nan]), reasons=(None, "no token of it"))
    assert job._prior([job._Group(asked=[question], right=0)], {question: answered}) is None
