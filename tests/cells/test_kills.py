"""A sweep that is killed, or whose workers are, ends as one that nobody disturbed."""

from pathlib import Path

from benchmarks.kills import campaign


def test_a_sweep_survives_kills_of_itself_and_of_its_workers(tmp_path: Path) -> None:
    tally = campaign(tmp_path, kills=3, seeds=(0,), rates=(1e-3,), pace=0.5)
    assert tally.differences == []
    assert tally.kills == 3
    assert tally.sweeps >= 1
