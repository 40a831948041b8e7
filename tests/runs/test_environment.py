"""What a run was made with."""

import os

from spillover.runs import environment


def test_the_code_revision_never_fails(monkeypatch):
    monkeypatch.setenv("GIT_DIR", os.devnull)
    assert environment.code_revision() is None or len(environment.code_revision() or "") in (40, 46)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert environment.code_revision() is None


def test_what_is_described_has_the_entries_that_are_named():
    assert tuple(environment.describe()) == environment.ENTRIES
