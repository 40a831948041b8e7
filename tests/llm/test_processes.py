"""Several processes: the same tune as in one, and one clear line when one of them fails."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from spillover.errors import RunError, SpilloverError, TrainingError
from spillover.llm.finetune import FineTuneConfig, finetune
from spillover.llm.processes import is_main, joined, launch, rank, world
from tests.llm.on_processes import CASES, SHORT, tune_all
from tests.llm.tuning import EXAMPLES
from tests.tiny_models import ARCHITECTURES, save_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def environment():
    """The children find the tests and have a thread each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What every case comes to in one process and in two."""
    folder = tmp_path_factory.mktemp("models")
    for architecture in ARCHITECTURES:
        save_tiny_model(folder / architecture, architecture)
    launch("tests.llm.on_processes", [str(folder), str(folder / "two.json")], 2)
    return tune_all(folder, 1), json.loads((folder / "two.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_two_processes_tune_as_one(one_and_two: tuple[dict[str, Any], dict[str, Any]], case: str) -> None:
    """The same steps but for the order of float32 sums.

    Measured over the six steps: losses and gradient norms differ by at most 2.0e-7 of themselves (the unit
    of float32 is 1.2e-7), scores by 4.8e-7; allowed is about ten times as much. The longer tune gives
    Adam time to enlarge that, since where a gradient is near zero it divides one rounding error by another:
    there 1% is allowed. In bfloat16, whose unit is 7.8e-3, several processes
    have weights in it that one has not (norms, embeddings): measured 6.9e-5 of the losses, 1.4e-3 of the
    gradient norms. A loss or gradient of the wrong batch, share or scale is off by far more.
    """
    one, two = (told[case] for told in one_and_two)
    close = 1e-2 if case == "until learned" else 5e-3 if "bfloat16" in case else 2e-6
    assert len(one["log"]) == len(two["log"])
    for first, second in zip(one["log"], two["log"], strict=True):
        for value in ("loss", "grad_norm", "learning_rate"):
            assert second[value] == pytest.approx(first[value], rel=close), value
        assert first["losses"].keys() == second["losses"].keys()
        for relation, (loss, count) in first["losses"].items():
            assert second["losses"][relation] == pytest.approx([loss, count], rel=close)
    for first, second in zip(one["scores"], two["scores"], strict=True):
        assert second == pytest.approx(first, abs=5 * close)


def test_what_comes_back_is_an_ordinary_model(one_and_two: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, two = one_and_two
    for case in CASES:
        assert two[case]["dtypes"] == ["torch.float32 cpu"]
        assert two[case]["names"] == one[case]["names"]


def test_bfloat16_is_only_computed_in(one_and_two: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Weights, gradients and moments are float32; several processes send their weights in bfloat16.

    The losses are float32's within 7.8e-5 of themselves.
    """
    for told, half in zip(one_and_two, ("torch.float32", "torch.bfloat16"), strict=True):
        for case in CASES:
            computed, gathered = ("torch.bfloat16", half) if "bfloat16" in case else ("torch.float32",) * 2
            expected = {"computed": [computed], "gathered": [gathered], "held": ["torch.float32"]}
            assert told[case]["seen"] == expected, case
        exact, coarse = (told[case]["log"] for case in ("llama", "in bfloat16"))
        for first, second in zip(exact, coarse, strict=True):
            assert second["loss"] == pytest.approx(first["loss"], rel=1e-3)
            assert second["loss"] != first["loss"]


def test_recomputing_changes_nothing(one_and_two: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for told in one_and_two:
        for case, kept in (
            ("recomputed", "gemma2"),
            ("recomputed adapters", "adapters"),
            ("recomputed in bfloat16", "in bfloat16"),
        ):
            assert told[case]["scores"] == told[kept]["scores"]
            assert [row["loss"] for row in told[case]["log"]] == [row["loss"] for row in told[kept]["log"]]


def test_the_tune_that_was_learned_stopped_early(one_and_two: tuple[dict[str, Any], Any]) -> None:
    assert 24 <= len(one_and_two[0]["until learned"]["log"]) < 90


def test_no_checkpoint_is_written_by_several(one_and_two: Any, tmp_path_factory: Any) -> None:
    folders = list(tmp_path_factory.getbasetemp().glob("models*/checkpoints/2-*/checkpoint-*"))
    assert not folders


def test_a_process_that_was_not_launched_is_alone() -> None:
    with joined():
        assert (world(), rank(), is_main()) == (1, 0, True)


def test_settings_for_other_processes_are_refused() -> None:
    config = FineTuneConfig(processes=3)
    with pytest.raises(TrainingError, match=r"to run on 3 processes and runs on 1; .*launch"):
        finetune(None, None, EXAMPLES, config, checkpoints=Path("unused"))
    assert SHORT.processes == 1


@pytest.mark.parametrize(
    ("fate", "kind", "line"),
    [
        ("mend", TrainingError, "^too hot; tune with a smaller --learning-rate$"),
        (
            "bug",
            RunError,
            "^a process of tests.llm.ill_fated ended early: ZeroDivisionError: of the program$",
        ),
        ("kill", RunError, "^a process of tests.llm.ill_fated ended early: SIGKILL, .*give fewer processes"),
        ("abort", RunError, "^a process of tests.llm.ill_fated ended early: SIGABRT$"),
    ],
)
def test_a_failure_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], fate: str, kind: type[SpilloverError], line: str
) -> None:
    with pytest.raises(kind) as caught:
        launch("tests.llm.ill_fated", [str(tmp_path), fate], 2)
    assert type(caught.value) is kind
    assert re.search(line, str(caught.value))
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""
    assert [(tmp_path / name).read_text().split()[1:] for name in "01"] == [["2", "True"], ["2", "False"]]
    assert _gone(tmp_path)


def test_an_abort_in_the_interpreters_own_end_is_no_failure(tmp_path: Path) -> None:
    launch("tests.llm.ill_fated", [str(tmp_path), "abort late"], 2)
    assert _gone(tmp_path)


def test_an_interrupt_ends_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = subprocess.Popen.wait

    def interrupted(child: Any, timeout: float | None = None) -> int:
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        while not all((tmp_path / name).exists() for name in "01"):
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch("tests.llm.ill_fated", [str(tmp_path), "sleep"], 2)
    assert _gone(tmp_path)


def _gone(folder: Path) -> bool:
    """Whether none of the processes that reported in a folder is left."""
    pids = [int(file.read_text().split()[0]) for file in folder.iterdir()]
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return False
    return len(pids) > 0
