"""What changed between two folders, against the plain difference of the weights, whole and as an adapter."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import load_file, save_file

from spillover.errors import ModelError
from spillover.llm import models
from spillover.llm.settings import FineTuneConfig
from spillover.spectrum.change import OV, changes
from tests.llm.tuning import CONFIG, tune
from tests.tiny_models import ARCHITECTURES, save_tiny_model


def tuned_folder(base: Path, tmp_path: Path, config: FineTuneConfig = CONFIG) -> Path:
    model = tune(base, tmp_path, config)
    models.save(model, models.load(base)[1], tmp_path / "tuned")
    return tmp_path / "tuned"


def difference(base: Path, tuned: Path) -> dict[str, np.ndarray]:
    """By weight, of the models as they are loaded."""
    before, _ = models.load(base)
    after, _ = models.load(base, tuned=tuned)
    after = after.merge_and_unload() if hasattr(after, "merge_and_unload") else after
    return {
        name: (after.state_dict()[name] - weight).double().numpy()
        for name, weight in before.state_dict().items()
    }


def row(table: Any, **wanted: Any) -> dict[str, Any]:
    for name, value in wanted.items():
        table = table.filter(pc.field(name) == value)
    (found,) = table.to_pylist()
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lora", [None, 2])
def test_every_weight_and_head(architecture: str, lora: int | None, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", architecture)
    config = FineTuneConfig(epochs=2, learning_rate=1e-2, batch_size=3, lora=lora)
    tuned = tuned_folder(base, tmp_path, config)
    table, notes = changes(base, tuned)
    assert notes == []
    change = difference(base, tuned)
    for projection in ("q_proj", "down_proj"):
        expected = np.linalg.svd(
            change[f"model.layers.1.{_home(projection)}.{projection}.weight"], compute_uv=False
        )
        found = row(table, layer=1, module=projection)
        assert found["nuclear"] == pytest.approx(expected.sum(), rel=1e-4)
        assert found["frobenius"] == pytest.approx(np.sqrt((expected**2).sum()), rel=1e-4)
        assert found["spectral"] == pytest.approx(expected[0], rel=1e-4)
        assert found["most"] == (lora or 32)
    weights = table.filter(pc.field("module") != OV)
    tied = "lm_head" not in weights["module"].to_pylist()  # then it is the embeddings again
    whole = sum((part**2).sum() for name, part in change.items() if not (tied and "lm_head" in name))
    assert sum(value**2 for value in weights["frobenius"].to_pylist()) == pytest.approx(whole, rel=1e-3)
    assert sum(weights["share"].to_pylist()) == pytest.approx(1)
    before, after = models.load(base)[0], models.load(base, tuned=tuned)[0]
    after = after.merge_and_unload() if lora else after
    assert len(table.filter(pc.field("module") == OV)) == 2 * 4
    for head in range(4):
        found = row(table, layer=0, module=OV, head=head)
        expected = np.linalg.svd(product(after, head) - product(before, head), compute_uv=False)
        assert found["nuclear"] == pytest.approx(expected.sum(), rel=1e-4)
        assert found["most"] == 16


def _home(projection: str) -> str:
    return "self_attn" if projection == "q_proj" else "mlp"


def product(model: Any, head: int) -> np.ndarray:
    """W_O W_V of a head of the first layer; two heads share their values."""
    attention = model.model.layers[0].self_attn
    output = attention.o_proj.weight.detach().double().numpy()[:, 8 * head :][:, :8]
    shared = attention.v_proj.weight.detach().double().numpy()
    group = head * (len(shared) // 8) // 4
    return output @ shared[8 * group :][:8]


def test_what_did_not_change_has_no_rank(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama")
    shutil.copytree(base, tmp_path / "same")
    table, _ = changes(base, tmp_path / "same")
    assert set(table["frobenius"].to_pylist()) == {0.0}
    assert set(table["effective_rank"].to_pylist()) == set(table["share"].to_pylist()) == {None}


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama")
    other = save_tiny_model(tmp_path / "other", "llama", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"model.layers.2.* is a weight of one of the two models alone"):
        changes(base, other)
    wide = save_tiny_model(tmp_path / "wide", "llama", intermediate_size=64)
    with pytest.raises(ModelError, match="has another shape in the tuned model"):
        changes(base, wide)


def test_another_naming_leaves_the_heads_out(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama")
    tensors = {name.replace("v_proj", "w_v"): w for name, w in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors")
    table, notes = changes(base, base)
    assert OV not in table["module"].to_pylist()
    assert notes == ["the heads' output-value products are left out: no v_proj and o_proj were found"]


_LARGE = r"""
import re, resource, sys
from pathlib import Path
import torch
from safetensors import safe_open
from spillover.spectrum.singular import of_difference
slices = [safe_open(path, "pt").get_slice("weight") for path in sys.argv[1:]]
of_difference(torch.zeros(2, 2), torch.ones(2, 2))
held = 1024 * int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_DATA, (held + 300_000_000,) * 2)
print(of_difference(*slices).sum())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
def test_a_large_weight_is_never_held_whole(tmp_path: Path) -> None:
    """In float32 each of the two would be 400 MB; 300 MB that are not the files' are enough for both."""
    weight = torch.zeros(100_000, 1000, dtype=torch.bfloat16)
    save_file({"weight": weight}, tmp_path / "a")
    weight[:1000] = torch.eye(1000)
    save_file({"weight": weight}, tmp_path / "b")
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(tmp_path / "a"), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1000)
