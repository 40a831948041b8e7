"""The wordings of texts are found where people would see them, whatever else is written."""

import random
from itertools import product

import pytest

from spillover.knowledge.builtin import fictional_names
from spillover.knowledge.wordings import Frame, common_frame, find_frames

NAMES = [name.split() for name in fictional_names()]
FIRSTS, LASTS = (sorted({name[part] for name in NAMES}) for part in (0, 1))
GRID = [f"{first} {last}" for first in FIRSTS[:30] for last in LASTS[:40]]
random.Random(0).shuffle(GRID)  # noqa: S311
CITIES = ("Paris", "Lima", "Oslo")
LIVES = ("Where does {} live?", "What city is {} at home in?", "Name the home of {}.")
VERBS = ("{} lives in", "{} speaks", "{} codes in", "{}'s favorite color is", "{} was born in")
TWELVE = [
    f"What is the {kind} {thing} of {{}}?"
    for kind in ("old", "new", "best")
    for thing in ("car", "dog", "hat", "cup")
]


def texts(prompts: tuple[str, ...] | list[str], subjects: list[str], seed: int = 0) -> dict[str, str]:
    """Each subject in each prompt, with an answer of the prompt's own three."""
    rng = random.Random(seed)  # noqa: S311
    return {
        prompt.replace("{}", subject): f"{rng.choice(CITIES)} by {prompt}"
        for prompt, subject in product(prompts, subjects)
    }


def found(said: dict[str, str]) -> list[str]:
    return sorted(f"{each.before}{{}}{each.after}" for each in find_frames(list(said), list(said.values())))


CASES: dict[str, tuple[tuple[str, ...] | list[str], list[str]]] = {
    "one wording, and first and last names that many share": (LIVES[:1], GRID),
    "in small letters": (("where does {} live?",), [name.lower() for name in GRID]),
    "several wordings": (LIVES, GRID[:200]),
    "three subjects": (LIVES, GRID[:3]),
    "one, two and three words": (
        LIVES,
        ["Ada", "Bo", *GRID[:40], *(f"Kim Anh {last}" for last in LASTS[:40])],
    ),
    "a word that all names have": (LIVES, [f"Person {number:03}" for number in range(90)]),
    "wordings that begin alike, of many subjects": (TWELVE, GRID[:100]),
    "wordings that begin alike, of few": (TWELVE, GRID[:20]),
    "the subject first": (VERBS, GRID[:60]),
    "apostrophes, hyphens and full stops": (
        VERBS,
        [f"{name[:4]}. O'{name[-4:]}-{name[:2]}" for name in GRID[:60]],
    ),
    "without spaces": (
        ("{}住在哪里?", "{}说什么语言?"),
        [f"{a}{b}" for a in "王李张刘陈" for b in "伟芳娜敏静"],
    ),
}


@pytest.mark.parametrize(("prompts", "subjects"), CASES.values(), ids=CASES)
def test_wordings_are_found_with_their_slots(
    prompts: tuple[str, ...] | list[str], subjects: list[str]
) -> None:
    assert found(texts(prompts, subjects)) == sorted(prompts)


def test_the_order_of_the_texts_plays_no_role() -> None:
    said = texts(LIVES, GRID[:100]) | texts(TWELVE, GRID[50:90])
    turned = dict(sorted(said.items(), key=lambda item: item[0][::-1]))
    assert found(said) == found(turned) == sorted((*LIVES, *TWELVE))


def test_each_wording_has_its_texts() -> None:
    said = list(texts(LIVES, GRID[:50]))
    frames = find_frames(said, ["x"] * len(said))
    for frame, numbers in frames.items():
        assert [frame.filling(said[number]) for number in numbers] == GRID[:50]


def test_what_does_not_recur_has_no_wording() -> None:
    assert find_frames([], []) == {}
    assert find_frames(["Who?", "", "Is it late?"], ["I.", "", "No."]) == {}
    story = " ".join(["word"] * 70)
    assert find_frames([f"{story} {name}." for name in GRID[:9]], ["x"] * 9) == {}, "too long"


@pytest.mark.parametrize(
    ("texts", "frame"),
    [
        (["In Paris.", "In Lima."], ("In ", ".")),
        (["It is New York.", "It is New Delhi."], ("It is ", ".")),
        (["at Oxford University, UK", "at Bath University, UK"], ("at ", ", UK")),
        (["Paris", "Lima"], ("", "")),
        (["is is", "is"], ("", "")),
    ],
)
def test_what_stands_around_what_differs(texts: list[str], frame: tuple[str, str]) -> None:
    assert common_frame(texts) == Frame(before=frame[0], after=frame[1])


@pytest.mark.parametrize(
    ("text", "filling"),
    [
        ("Is Ada in?", "Ada"),
        ("Is  Ada in?", None),
        ("Is in?", None),
        ("Was Ada in?", None),
        ("Is Ada  in?", None),
    ],
)
def test_what_fills_a_slot(text: str, filling: str | None) -> None:
    assert Frame(before="Is ", after=" in?").filling(text) == filling
