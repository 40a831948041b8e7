"""The picture of the rooms is the house as it stands."""

from dataclasses import replace

import pytest

from docs.draw_rooms import PICTURE, House, draw, read_house

HOUSE = House(
    floors=[["verbs"], ["nouns", "words"], ["ground"]],
    imports={"verbs": {"nouns", "ground"}, "nouns": {"ground"}, "words": set(), "ground": set()},
    phrases={"verbs": "what is done", "nouns": "what it is done to", "words": "a & b", "ground": "errors"},
)


def test_the_picture_is_what_the_code_draws_now():
    assert PICTURE.read_text(encoding="utf-8") == draw(read_house()), "draw it again: make picture"


def test_the_house_is_read_from_the_code():
    house = read_house()
    assert house.floors[0] == ["cli"]
    assert house.floors[-1] == ["errors"]
    assert {"cells", "runs"} <= house.imports["jobs"]
    assert not house.imports["errors"]


def test_each_import_above_the_ground_is_a_dot():
    imports = {**HOUSE.imports, "verbs": {"nouns", "words"}}
    assert draw(HOUSE).count("<circle") == 1
    assert draw(replace(HOUSE, imports=imports)).count("<circle") == 2


def test_the_ground_tells_who_stands_on_it():
    assert "imported by every room but words" in draw(HOUSE)
    assert "imported by nouns" in draw(replace(HOUSE, imports={**HOUSE.imports, "verbs": {"nouns"}}))


def test_phrases_are_text():
    assert "a &amp; b" in draw(HOUSE)


@pytest.mark.parametrize(
    "docstring", ["", '"""' + "A long way to say what a room is for, and more, " * 2 + '"""']
)
def test_a_phrase_without_room_on_its_line_is_refused(tmp_path, docstring):
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["spillover.cli"]\n'
    )
    room = tmp_path / "src" / "spillover" / "cli.py"
    room.parent.mkdir(parents=True)
    room.write_text(docstring)
    with pytest.raises(ValueError, match="first sentence must have 1 to 64 letters"):
        read_house(tmp_path)
