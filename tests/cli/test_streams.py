"""Streams that are closed, full or left, as a shell hands them over."""

import json
import os
import subprocess
import sys

import pytest

SPILLOVER = f"{sys.executable} -m spillover"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line.replace("spillover", SPILLOVER, 1)],
        capture_output=True,
        check=False,
        timeout=60,
        env=os.environ | {"COLUMNS": "80"} | environment,
    )


@pytest.mark.parametrize("to", [">/dev/full", "<&- >&-"])
@pytest.mark.parametrize("verb", ["reproduce --list", "forecast", "--help"])
def test_results_that_cannot_be_printed_are_one_line(verb, to):
    done = shell(f"spillover {verb} {to}")
    assert done.returncode == 2
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("spillover: cannot print the results: ")
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"spillover: ") == 1


@pytest.mark.parametrize("to", ["2>/dev/full", "<&- 2>&-"])
def test_messages_that_nobody_gets_stop_nothing(to):
    done = shell(f"spillover forecast --json {to}")
    assert done.returncode == 0
    assert json.loads(done.stdout)["kb"]["name"] == "demo"
    assert shell(f"spillover forecast nothing.csv {to}").returncode == 2


def test_a_file_that_is_written_never_takes_the_place_of_a_closed_stream(tmp_path):
    done = shell(f"spillover forecast --queries {tmp_path}/q.parquet <&- >&- 2>&-")
    assert done.returncode == 2
    assert (tmp_path / "q.parquet").read_bytes()[-4:] == b"PAR1"


@pytest.mark.parametrize("verb", ["forecast --json", "--help"])
def test_a_reader_who_has_read_enough_is_no_error(verb):
    done = shell(f"set -o pipefail; spillover {verb} | sleep 0")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"spillover: " not in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
def test_a_terminal_that_is_not_utf_8_reads_the_table(encoding):
    done = shell("spillover forecast", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    text = done.stdout.decode(encoding)
    assert "lives in city -> speaks" in text
    assert "speaks” will" in text if encoding == "cp1252" else 'speaks" will' in text
    assert (
        b"spillover: caf\\u0119->.csv: file not found"
        in shell("spillover forecast 'cafę→.csv'", PYTHONIOENCODING=encoding).stderr
    )
