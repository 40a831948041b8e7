"""The null control: other implications are taught, and the same is asked."""

from spillover.interventions.shuffle import Shuffle
from spillover.knowledge.load import load
from spillover.knowledge.split import shuffle_implications, split


def test_the_bridges_implications_are_shuffled_by_the_seed() -> None:
    plain = split(load("demo"), 0)
    null = Shuffle().examples(plain, 3)
    assert null == shuffle_implications(plain, 3) != Shuffle().examples(plain, 4)
    assert null.bridges != plain.bridges
    assert null.held_out == plain.held_out
