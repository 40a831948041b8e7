"""The command line, run in this process."""

import sys

import pytest

from spillover.cli import main


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `spillover` with arguments: its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["spillover", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return stop.value.code, printed.out, printed.err

    monkeypatch.setenv("COLUMNS", "80")
    return run
