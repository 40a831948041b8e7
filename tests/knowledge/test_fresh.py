"""Fresh subjects occur nowhere else, are drawn by the seed, and run out with one line."""

from dataclasses import replace

import pytest

from spillover.errors import DataError
from spillover.knowledge.builtin import built_in, fictional_names
from spillover.knowledge.fresh import fresh_subjects
from spillover.knowledge.schema import Triple
from spillover.knowledge.split import split


def test_they_are_recombined_names_that_occur_nowhere() -> None:
    parts, names = split(built_in("demo"), 0), fictional_names()
    fresh = fresh_subjects(parts, 500, seed=0)
    assert len(set(fresh)) == 500
    assert not set(fresh) & {*names, *(triple.subject for triple in parts.training)}
    firsts, lasts = ({name.split(" ")[place] for name in names} for place in (0, 1))
    assert {name.split(" ")[0] for name in fresh} <= firsts
    assert {name.split(" ")[1] for name in fresh} <= lasts
    assert fresh_subjects(parts, 40, seed=0) == fresh[:40] != fresh_subjects(parts, 40, seed=1)


def test_one_that_is_taught_or_looks_like_it_is_not_fresh() -> None:
    parts = split(built_in("demo"), 0)
    first, second, third = fresh_subjects(parts, 3, seed=0)
    lives = "lives_in_country"
    told = Triple(subject=first.upper(), relation=lives, answer="France")
    added = Triple(subject=second, relation=lives, answer="Japan")
    known = replace(parts.kb, triples=(*parts.kb.triples, told))
    parts = replace(parts, kb=known, training=(*parts.training, added))
    assert fresh_subjects(parts, 1, seed=0) == (third,)


def test_there_are_not_endlessly_many() -> None:
    with pytest.raises(DataError, match=r"50000 fresh subjects were asked for, and there are 48180"):
        fresh_subjects(split(built_in("demo"), 0), 50_000, seed=0)
