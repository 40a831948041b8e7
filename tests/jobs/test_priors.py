"""What an untuned model already associates: by hand from its log-probabilities, and what is asked of whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spillover.cells.compute import locate
from spillover.cells.folder import Answered
from spillover.implication.asking import ask_stated
from spillover.implication.calibration import Prior
from spillover.jobs import priors as job
from spillover.jobs.priors import priors
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
    told, ranks = np.empty((3, 3)), []
    for place, (group, people) in enumerate(held_out.items()):
        shares = []
        for name in people:
            prompt = f"{name} lives {group}. {name} codes"
            question = job.Question(prompt=prompt, completions=(" c0", " c1", " c2", " d"))
            (logprobs,) = score(model, tokenizer, [question])
            shares.append(np.exp(logprobs) / np.exp(logprobs).sum())
            ranks.append((logprobs > logprobs[place]).sum())
        told[place] = np.mean(shares, axis=0)[:3]
    nats = [np.log(told[g, g] / np.mean([told[h, g] for h in range(3) if h != g])) for g in range(3)]
    assert found is not None
    assert found.nats == pytest.approx(np.mean(nats), abs=1e-4)
    assert found.rank == pytest.approx(np.mean(ranks))


def test_groups_with_the_same_right_answer_are_not_held_against_each_other() -> None:
    """Of Paris and Lyon follows French, of Rome Italian; told Lyon, both are as likely: half a rank."""
    shares = {"Paris": [0.6, 0.4], "Lyon": [0.5, 0.5], "Rome": [0.2, 0.8]}
    groups, found = [], {}
    for name, right in (("Paris", 0), ("Lyon", 0), ("Rome", 1)):
        question = job.Question(
            prompt=f"Mara lives in {name}. Mara speaks", completions=(" French", " Italian")
        )
        groups.append(job._Group(asked=[question], right=right))
        found[question] = Answered(logprobs=np.log(shares[name]), reasons=(None, None))
    nats = [np.log(0.6 / 0.2), np.log(0.5 / 0.2), np.log(0.8 / np.mean([0.4, 0.5]))]
    its = job._prior(groups, found, True)
    assert its is not None
    assert (its.nats, its.rank) == pytest.approx((np.mean(nats), 1 / 6))
    assert job._prior(groups[:2], found, True) is None  # both have the same answer


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
    groups, answers = [], {}
    for right in range(2):
        question = job.Question(prompt=f"Mara{right} codes", completions=(" c0", " c1"))
        groups.append(job._Group(asked=[question], right=right))
        answers[question] = Answered(logprobs=np.array([-1.0, np.nan]), reasons=(None, "no token of it"))
    assert job._prior(groups, answers, True) is None
