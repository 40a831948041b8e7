"""The forecast against the one-layer lab: the model that is trained on the same table."""

import numpy as np

from spillover.implication.margins import FitSettings, fit
from spillover.implication.questions import held_out, rule_groups
from spillover.knowledge.patterns import group_triples
from spillover.knowledge.schema import Triple
from spillover.reproduce.late import late_phase
from spillover.symbolic.experiment import Experiment
from spillover.symbolic.task import Task
from spillover.symbolic.train import train


def worlds(count):
    """Unequal groups, one or two implications, none to two exceptions per group."""
    rng = np.random.default_rng(11)
    for _ in range(count):
        many, implications, exceptions = (
            int(rng.integers(3, 6)),
            int(rng.integers(1, 3)),
            int(rng.integers(3)),
        )
        bridges = rng.integers(1, 4, size=(implications, many)) + exceptions
        subjects = bridges.max(axis=0) + rng.integers(1, 8, size=many)
        yield Task(
            groups=many,
            subjects=tuple(subjects.tolist()),
            bridges=tuple(tuple(row) for row in bridges.tolist()),
            exceptions=exceptions,
            implications=implications,
            noise=0,
            length=3,
        )


def test_the_symbolic_model_trained_on_the_same_table_agrees_in_sign():
    """On at least 99% of held-out questions whose forecast margin exceeds 0.05."""
    forecasts, trained = [], []
    for task in worlds(6):
        late = late_phase(task, seeds=1, steps=2000)
        weights = train(Experiment(task=task, settings=late.settings[:1], training=late.training)).weights[
            0, 0
        ]
        triples = task.triples
        table = [
            Triple(subject=f"s{s:03}", relation=f"r{r}", answer=f"a{a:03}")
            for s, r, a in zip(triples.subject, triples.relation, triples.answer, strict=True)
        ]
        patterns = group_triples(one for one, kept in zip(table, triples.trained, strict=True) if kept)
        solved = fit(patterns, FitSettings())
        names = patterns.members["subject"].to_pylist()
        for relation in range(1, task.relations):
            pairs = {i: relation * task.groups + i for i in range(task.groups)}
            questions = held_out(patterns, 0, relation, rule_groups(patterns, 0, relation, pairs))
            rows = np.repeat(np.arange(questions.pattern.size), questions.subjects)
            subject = np.array([int(names[member][1:]) for member in questions.member])
            logits = (weights[:, subject] + weights[:, [task.subject_count + relation]]).T
            right = questions.answer[rows]
            own = logits[np.arange(rows.size), right].copy()
            logits[np.arange(rows.size), right] = -np.inf
            forecasts.append(solved.margins(questions)[rows])
            trained.append(own - logits.max(axis=1))
    clear = np.concatenate(forecasts) > 0.05
    assert clear.sum() >= 80
    assert (np.concatenate(trained)[clear] > 0).mean() >= 0.99
