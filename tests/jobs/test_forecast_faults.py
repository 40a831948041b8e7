"""What a forecast cannot do is one clear line, and an interrupt is no traceback."""

import subprocess
import sys

import pytest

from spillover.cli import app
from spillover.errors import DataError, MarginError, RunError
from spillover.jobs.forecast import forecast
from spillover.knowledge.schema import Triple
from tests.implication.tables import grouped
from tests.jobs.tables import noisy, write_csv


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--tol", "0"], "the tolerance must be positive"),
        (["--penalty", "-1"], "the penalty must be positive"),
        (["--time-limit", "0"], "limits must be positive"),
        (["--target", "nan"], "the target must be a number, got nan"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(tmp_path, options, complaint):
    table = write_csv(tmp_path / "my.csv", grouped(3, 4, 1))
    with pytest.raises(MarginError, match=complaint):
        app(["forecast", str(table), *options], exit_on_error=False, result_action="return_value")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "file is empty"),
        ("subject,relation\nAl,lives\n", "missing column 'answer'"),
        ("subject,relation,answer\nAl,lives,\n", "my.csv:2: answer is empty"),
        ("subject,relation,answer\nAl,lives,Ro\0me\n", "my.csv:2"),
        (
            "subject,relation,answer\nAl,lives,Rome\nAl,lives,Rome\n",
            "my.csv:3: .* stands already in .*my.csv:2",
        ),
    ],
)
def test_a_faulty_table_is_named_with_its_line(tmp_path, content, complaint):
    (tmp_path / "my.csv").write_text(content)
    with pytest.raises(DataError, match=complaint):
        forecast(tmp_path / "my.csv")


def test_what_is_no_file_is_said_so():
    with pytest.raises(DataError, match="neither a file nor a built-in knowledge base"):
        forecast("contry-code")


def test_one_answer_for_everything_is_one_clear_line(tmp_path):
    table = [Triple(subject=f"s{i}", relation="is", answer="human") for i in range(3)]
    with pytest.raises(DataError, match="every triple has the same answer, 'human'"):
        forecast(write_csv(tmp_path / "my.csv", table))


def test_margins_that_cannot_be_written_are_one_clear_line(tmp_path):
    table = write_csv(tmp_path / "my.csv", grouped(3, 4, 1))
    with pytest.raises(RunError, match=r"cannot write the margins to .*my.csv.x.parquet"):
        forecast(table, queries=table / "x.parquet")


def test_an_interrupt_is_told_and_leaves_with_130(tmp_path):
    table = write_csv(tmp_path / "my.csv", noisy(6, 60, 9, seed=0))
    program = (
        "import importlib, sys\nimport spillover.cli as cli\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "importlib.import_module('spillover.jobs.forecast').forecast = stop\n"
        f"sys.argv = ['spillover', 'forecast', {str(table)!r}]\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "interrupted")
