"""The one-layer model early in its training, against torch's own training of the same model."""

import numpy as np
import torch

from spillover.implication.asking import ask
from spillover.implication.early import STOP, train_early
from spillover.knowledge.patterns import group_triples
from tests.implication.tables import grouped, triples


def asked(patterns):
    """The grouped table's only rule, fact -> implication."""
    fact, implication = (patterns.relations.index(name) for name in ("lives_in", "codes_in"))
    return ask(patterns, fact, implication, kind="spurious").questions


def trained_by_torch(patterns, start, steps):
    """Each seed's model after so many steps of torch's Adam, a column for each pattern's subjects."""
    parts = [torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in start]
    subjects, relations, answers = parts
    weight = torch.tensor(patterns.subjects[patterns.pattern], dtype=torch.float64)
    among = torch.full((len(patterns.relations), len(patterns.answers)), -torch.inf, dtype=torch.float64)
    among[patterns.relation, patterns.answer] = 0
    optimizer = torch.optim.Adam(parts, lr=5e-3)
    for _ in range(steps):
        hidden = subjects[:, patterns.pattern] + relations[:, patterns.relation]
        logits = hidden @ answers + among[patterns.relation]
        shares = logits.log_softmax(-1)[:, np.arange(weight.numel()), patterns.answer]
        optimizer.zero_grad()
        (-(shares @ weight) / weight.sum()).sum().backward()
        optimizer.step()
    return [part.detach().numpy() for part in parts]


def test_it_is_what_torch_trains():
    patterns = group_triples(grouped(3, 6, 2, exceptions=1))
    rng = np.random.default_rng(0)
    shapes = [
        (4, len(patterns.subjects), 32),
        (4, len(patterns.relations), 32),
        (4, 32, len(patterns.answers)),
    ]
    start = [(rng.standard_normal(shape) * 1e-3).astype(np.float32) for shape in shapes]
    early = train_early(patterns)
    assert early.reached
    for mine, theirs in zip(
        (early.subjects, early.relations, early.answers),
        trained_by_torch(patterns, start, early.steps),
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)


def test_a_probability_is_the_softmax_over_the_relations_answers():
    patterns = group_triples(grouped(3, 6, 2))
    early, questions = train_early(patterns), asked(patterns)
    among = np.unique(patterns.answer[patterns.relation == questions.relation])
    expected = np.zeros(questions.pattern.size)
    for k in range(len(early.subjects)):
        hidden = early.subjects[k, questions.pattern] + early.relations[k, questions.relation]
        logits = hidden @ early.answers[k][:, among]
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected += shares[np.arange(len(shares)), np.searchsorted(among, questions.answer)] / len(
            early.subjects
        )
    np.testing.assert_allclose(early.probabilities(questions), expected, rtol=1e-5)


def test_a_rule_with_bridges_is_followed_and_counterexamples_lower_it():
    def rate(bridges, exceptions):
        patterns = group_triples(grouped(5, 20, bridges, exceptions))
        questions = asked(patterns)
        return questions.mean(train_early(patterns).probabilities(questions))

    few, many, against = rate(3, 0), rate(8, 0), rate(3, 8)
    assert against < few < many


def test_the_same_table_twice_says_the_same():
    once, twice = grouped(4, 8, 2), []
    for triple in once:
        twice += triples(
            (triple.subject, triple.relation, triple.answer),
            (f"{triple.subject} the second", triple.relation, triple.answer),
        )
    first, second = (group_triples(table) for table in (once, twice))
    np.testing.assert_allclose(
        train_early(first).probabilities(asked(first)),
        train_early(second).probabilities(asked(second)),
        rtol=1e-4,
    )


def test_training_longer_teaches_more_of_the_rule():
    patterns = group_triples(grouped(5, 20, 4))
    early, late = train_early(patterns), train_early(patterns, stop=STOP / 3)
    assert early.steps < late.steps
    assert late.probabilities(asked(patterns)).mean() > early.probabilities(asked(patterns)).mean()


def test_a_contradiction_ends_it_without_an_end():
    patterns = group_triples(triples(("a", "is", "x"), ("a", "is", "y"), ("b", "is", "x"), ("b", "is", "y")))
    early = train_early(patterns)
    assert not early.reached
    assert early.steps == 2_000
