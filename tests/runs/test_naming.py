"""Folders of runs: plain names, and never one name twice."""

import subprocess
import sys

import pytest

from spillover.errors import RunError
from spillover.runs.naming import new_folder, slug

MAKER = """
import sys
from pathlib import Path
from spillover.runs.naming import new_folder
for _ in range(50):
    print(new_folder(Path(sys.argv[1]), "people", "tiny", "now"))
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("demo", "demo"),
        ("SmolLM2-135M_v1.5", "SmolLM2-135M_v1.5"),
        ("../../x", "x"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a/b\\c:d", "a-b-c-d"),
        ("a\0b\nc\x1b[2Jd\u202ee\ud800f", "a-b-c-2Jd-e-f"),
        ("Zürich 東京", "Zürich-東京"),
        ("東" * 100, "東" * 26),
    ],
)
def test_a_name_is_a_plain_file_name(text, name):
    assert slug(text) == name


def test_processes_that_start_at_once_get_folders_of_their_own(tmp_path):
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    made = [line for maker in makers for line in maker.communicate()[0].splitlines()]
    assert len(set(made)) == len(made) == 100
    assert len(list((tmp_path / "runs").iterdir())) == 100
    assert str(tmp_path / "runs" / "people-tiny-now-100") in made


def test_a_place_that_cannot_hold_folders_is_one_clear_line(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(RunError, match=r"cannot make a run folder in .*runs: File exists; use --out"):
        new_folder(tmp_path / "runs", "x")
