"""What reaches the terminal: nothing that it would obey, and nothing that it cannot show."""

import io
import json
import sys

import pytest
from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from spillover.cli import output, streams
from spillover.report.sheet import Column, Sheet

HOSTILE = "a\x1b[2J\x7f\x07b\n\x9bc\u202ed\u2028e\udcfff"
HARMLESS = r"a\x1b[2J\x7f\x07b\n\x9bc\u202ed\u2028e\udcfff"


@pytest.fixture
def printed(monkeypatch):
    """Stdout in an encoding, and what was printed there so far."""

    def start(encoding="utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="spillover.spell")
        monkeypatch.setattr(sys, "stdout", stream)
        return lambda: stream.buffer.getvalue().decode(encoding)

    monkeypatch.setenv("COLUMNS", "80")
    return start


def test_what_a_terminal_obeys_is_made_visible():
    assert streams.visible(HOSTILE) == HARMLESS
    kept = "Zürich 東京 \u0645\u06cc\u200c\u062e\u0648 → “½”"
    assert streams.visible(kept) == kept


def test_every_part_of_a_table_is_harmless(printed):
    sheet = Sheet([Column(), Column(numbers=True)])
    sheet.add_row(HOSTILE, (HOSTILE, Text(HOSTILE, style="bold")))
    read = printed()
    parts = Padding(Text(HOSTILE), (0, 0, 0, 2)), sheet, HOSTILE
    output.print_rich(Group(Text.assemble(("x", "red"), HOSTILE, style="bold"), *parts))
    output.print_line(HOSTILE)
    text = read()
    assert text.count(r"\x1b[2J") == 7
    assert text.count(r"\u202e") == 7
    assert not set(text) & set("\x1b\x07\x7f\x9b\u202e\u2028\udcff")
    with pytest.raises(TypeError, match="cannot print a dict"):
        output.print_rich({})  # pyright: ignore[reportArgumentType]


def test_styles_stay_where_they_were(printed, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    read = printed("ascii")
    output.print_rich(Text.assemble("a → ", ("b\u202e", "bold"), " c"))
    assert read() == "a -> \x1b[1mb\\u202e\x1b[0m c\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_columns_stay_straight_in_any_encoding(printed, encoding):
    sheet = Sheet([Column(name="rule"), Column(name="top", numbers=True)])
    for rule in ("lives in → “speaks”", "x", "東京"):
        sheet.add_row(rule, "91%")
    read = printed(encoding)
    output.print_rich(sheet)
    lines = [line for line in read().splitlines() if line.strip()]
    assert "lives in -> " in lines[2] or encoding == "utf-8"
    if encoding != "utf-8":
        assert r"\u6771\u4eac" in lines[4]
        assert len({line.index("91%") for line in lines[2:]}) == 1
        assert lines[1].strip() == "-" * (len(lines[1]) - 2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_the_same_document_in_any_encoding(printed, encoding):
    document = {"name": HOSTILE, "other": "→ é 東京", "nan": float("nan")}
    read = printed(encoding)
    output.print_json(document)
    text = read()
    assert json.loads(text) == document | {"nan": None}
    assert not set(text) & set("\x1b\x07\x7f\x9b\u202e\u2028\udcff")
    assert ("東京" in text) == (encoding == "utf-8")


@pytest.mark.parametrize("width", [40, 80])
def test_stages_are_harmless_and_their_numbers_whole(monkeypatch, width):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", str(width))
    with output.Bars() as bars:
        bars(f"told [/x] of :smile: {HOSTILE}", 0, 0)
        bars("advice on [/codes]\x1b[2J and something very long", 123, 4567)
    text = stream.getvalue()
    assert "told [/x] of :smile: a\\x1b[2J" in text.replace("\n", "")
    assert "advice on [/codes]" in text
    assert "123/4567" in text
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b[2J" not in text


def test_messages_and_errors_are_one_harmless_line(command):
    code, out, err = command("forecast", "no\x1b[2J\nsuch\u202e.csv")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == r"spillover: no\x1b[2J\nsuch\u202e.csv: file not found; check the path"
    assert command("forecast", "--norm", "x\x1b[2J")[2].startswith(r'spillover: Invalid value "x\x1b[2J"')


def test_a_table_with_escapes_in_its_names_is_forecast_harmlessly(command, tmp_path):
    told = [f"N{group}{n},lives_in,G{group}" for group in range(3) for n in range(8)]
    told += [f"N{group}{n},codes\x1b[2J\x1b]0;pwned\x07_in,L{group}" for group in range(3) for n in range(5)]
    (tmp_path / "people.csv").write_text("\n".join(["subject,relation,answer", *told]), encoding="utf-8")
    for arguments in ((), ("--json",), ("--advise",)):
        code, out, err = command("forecast", tmp_path / "people.csv", *arguments)
        assert code == 0
        assert "[2J" in out
        assert not set(out + err) & set("\x1b\x07")


def test_a_line_that_many_tunes_tell_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Bars() as bars:
        for line in ("full: 147.9 GB", "LoRA: 37.4 GB", "full: 147.9 GB"):
            bars(line, 0, 0)
    assert capsys.readouterr().err.split("\n") == ["full: 147.9 GB", "LoRA: 37.4 GB", ""]
