"""A sweep that is killed, or whose workers are, ends as one that nobody disturbed."""

from pathlib import Path

from benchmarks.kills import End, campaign, changed, differences


def test_a_sweep_survives_kills_of_itself_and_of_its_workers(tmp_path: Path) -> None:
    tally = campaign(tmp_path, kills=2, seeds=(0,), rates=(1e-3,), pace=0.5)
    assert tally.differences == []
    assert tally.kills == 2
    assert tally.sweeps >= 1


def test_a_campaign_sees_another_table_other_scores_and_what_was_left_half_written(tmp_path: Path) -> None:
    whole = End(audits=[{"rules": []}], scores={"cells/a/scores.parquet": b"1"})
    assert differences(whole, whole, tmp_path) == []
    assert len(differences(End(audits=[], scores=whole.scores), whole, tmp_path)) == 1
    assert len(differences(End(audits=whole.audits, scores={}), whole, tmp_path)) == 1
    (tmp_path / ".spillover-manifest.json-0.tmp").touch()
    assert len(differences(whole, whole, tmp_path)) == 1


def test_a_campaign_sees_a_finished_cell_that_is_written_again_or_gone() -> None:
    finished = {"a": (b"{}", 1)}
    assert changed(finished, finished | {"b": (b"{}", 2)}) == []
    assert changed(finished, {"a": (b"{}", 2)}) == ["cell a was finished and was written again"]
    assert len(changed(finished, {})) == 1
