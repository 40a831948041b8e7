"""Paths that cannot be: of every verb that takes one, one clear line and exit 2."""

import os
from pathlib import Path

import pytest

from tests.report.fixture import write_run

WORLD = ("--groups", 3, "--noise", 2, "--length", 5, "--seeds", 1, "--steps", 1)
WRITING = {
    "forecast": ("forecast", "demo", "--queries"),
    "export to jsonl": ("export", "demo", "--to", "jsonl"),
    "export to lm-eval": ("export", "demo", "--to", "lm-eval"),
    "report": ("report", "run", "--out"),
    "symbolic": ("symbolic", *WORLD, "--out"),
    "reproduce": ("reproduce", "theorem-2", "--out"),
}
READING = {
    "forecast": ("forecast",),
    "score": ("score",),
    "score --split": ("score", "demo", "--split"),
    "init": ("init",),
    "audit": ("audit",),
    "sweep": ("sweep",),
    "report": ("report",),
    "runs": ("runs",),
}
FILES = ("forecast", "export to jsonl", "report")
"""Verbs whose place to write is a file."""

ODD = {
    "NUL": "a\0b",
    "NUL in a folder": "a\0b/c",
    "long": "x" * 300,
    "long folder": "x" * 300 + "/y",
    "endless": "x/" * 3000,
    "below a file": "plain/x",
    "loop": "loop/x",
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder that the user is in, with things of many kinds."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    Path("plain").write_text("mine")
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    Path("link").symlink_to("plain")
    os.mkfifo("pipe")
    return tmp_path


def refused(command, *arguments) -> str:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("spillover: ")
    return last


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("verb", WRITING)
def test_a_place_that_cannot_be_is_one_line(command, place, verb, path):
    before = set(place.iterdir())
    refused(command, *WRITING[verb], ODD[path])
    assert set(place.iterdir()) == before


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("verb", READING)
def test_an_input_that_cannot_be_is_one_line(command, place, verb, path):
    refused(command, *READING[verb], ODD[path])


@pytest.mark.parametrize("path", [".", "/", "folder", "/dev/null", "/dev/full", "pipe", "link", "loop"])
@pytest.mark.parametrize("verb", FILES)
def test_only_plain_files_are_replaced(command, place, verb, path):
    kind = os.lstat(path)
    assert "not a plain file" in refused(command, *WRITING[verb], path)
    assert os.lstat(path).st_ino == kind.st_ino
    assert Path("plain").read_text() == "mine"
    assert not list(place.rglob("*.tmp"))


@pytest.mark.parametrize("verb", FILES)
def test_a_plain_file_is_replaced_whatever_fits_its_name(command, place, verb):
    for name in ("plain", "x" * 255):
        assert command(*WRITING[verb], name)[0] == 0
        assert Path(name).stat().st_size > 1000


@pytest.mark.parametrize("verb", [*WRITING.values(), *READING.values()])
def test_a_place_out_of_reach_is_one_line(command, place, monkeypatch, verb):
    """A superuser has no such place, so the system is made to refuse it."""

    def refuse(whole):
        def call(path, *rest, **options):
            if "locked" in str(path):
                raise PermissionError(13, "Permission denied", path)
            return whole(path, *rest, **options)

        return call

    for name in ("lstat", "stat", "mkdir", "listdir", "scandir", "open"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    assert "Permission denied" in refused(command, *verb, "locked/x.csv")
