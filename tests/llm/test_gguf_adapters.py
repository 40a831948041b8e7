"""A LoRA adapter as GGUF against the same one as PEFT saved it; and a GGUF's own chat template."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spillover.errors import ModelError
from spillover.llm import models
from spillover.llm.score import score
from tests.llm.test_score import QUESTIONS
from tests.tiny_adapters import save_tiny_adapter
from tests.tiny_gguf import save_tiny_gguf, save_tiny_gguf_adapter
from tests.tiny_models import CHAT, save_tiny_model

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def scored(base: Path, tuned: Path) -> list[np.ndarray]:
    return score(*models.load(base, tuned=tuned), QUESTIONS)


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ({"target_modules": EVERY, "lora_alpha": 6}, 6),
        ({"target_modules": EVERY, "lora_alpha": 6, "rank_pattern": {"k_proj": 3}}, 6),
        ({"lora_alpha": 2}, None),
        ({"lora_alpha": 2, "rank_pattern": {"v_proj": 5}, "alpha_pattern": {"v_proj": 5}}, 0),
    ],
    ids=str,
)
def test_an_adapter_is_the_same_in_either_form(
    llama_folder: Path, tmp_path: Path, settings: dict[str, Any], alpha: float | None
) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "peft", **settings)
    file = save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, tmp_path / "a.gguf", alpha=alpha)
    folder = models.locate(str(file), base=llama_folder)
    assert models.is_adapter(folder)
    for a, b in zip(scored(llama_folder, folder), scored(llama_folder, tmp_path / "peft"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert models.locate(str(file), base=llama_folder) == folder, "converted once"


def test_heads_are_those_of_the_base(llama_folder: Path, tmp_path: Path) -> None:
    """The same file on another base is another adapter, and is not taken for the first."""
    save_tiny_adapter(llama_folder, tmp_path / "peft")
    file = save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, tmp_path / "a.gguf", alpha=2)
    other = save_tiny_model(tmp_path / "other", "llama", num_attention_heads=2)
    assert models.locate(str(file), base=llama_folder) != models.locate(str(file), base=other)


def spoilt(name: str, change: Any) -> Any:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        if change is None:
            del tensors[name]
        else:
            tensors[name] = change(tensors[name])

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (spoilt("blk.1.attn_q.weight.lora_a", None), "has no pair of matrices for 'blk.1.attn_q'"),
        (spoilt("blk.1.attn_q.weight.lora_a", lambda a: a[:1]), "matrices of two ranks for 'blk.1.attn_q'"),
        (
            spoilt("blk.1.attn_q.weight.lora_b", lambda b: b[:9]),
            "does not fit the base's heads in 'blk.1.attn_q'",
        ),
        (spoilt("blk.1.attn_q.weight.lora_b", lambda b: b[0]), "has no pair of matrices"),
        (
            lambda t: t.update({"blk.7.attn_q.weight.lora_a": np.ones((2, 2), np.float32)}),
            "no linear layer of the base",
        ),
        (lambda t: t.update({"output_norm.weight": np.ones(32, np.float32)}), "changes 'output_norm.weight'"),
        (lambda t: t.clear(), "holds no weights"),
    ],
)
def test_broken_adapters_are_one_line(
    llama_folder: Path, tmp_path: Path, edit: Any, message: str, cache: Path
) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "peft")
    file = tmp_path / "a.gguf"
    save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, file, alpha=2, edit=edit)
    with pytest.raises(ModelError, match=message):
        models.locate(str(file), base=llama_folder)
    assert [path for path in (cache / "models").iterdir() if not path.name.startswith(".")] == []


def test_an_adapter_that_is_cut_short_is_one_line(llama_folder: Path, tmp_path: Path) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "peft")
    file = save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, tmp_path / "a.gguf", alpha=2)
    whole = file.read_bytes()
    for length in (len(whole) - 64, 300, 120):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="cannot be read as a GGUF"):
            models.locate(str(file), base=llama_folder)


def test_an_adapter_of_another_architecture_is_one_line(llama_folder: Path, tmp_path: Path) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "peft")
    file = save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, tmp_path / "a.gguf", alpha=2)
    file.write_bytes(file.read_bytes().replace(b"llama", b"bloom"))
    with pytest.raises(ModelError, match="is of architecture 'bloom', and read from GGUF are llama, gemma2"):
        models.locate(str(file), base=llama_folder)


@pytest.mark.parametrize(("other", "fits"), [("mistral", True), ("qwen2", False), ("olmo", False)])
def test_an_adapter_is_put_on_no_base_of_another_architecture(
    other: str, fits: bool, llama_folder: Path, tmp_path: Path
) -> None:
    """Though names and shapes would let it."""
    save_tiny_adapter(llama_folder, tmp_path / "peft")
    file = save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, tmp_path / "a.gguf", alpha=2)
    base = save_tiny_model(tmp_path / "other", other)
    if fits:
        assert models.is_adapter(models.locate(str(file), base=base))
        return
    with pytest.raises(ModelError, match=f"of architecture 'llama' and the base is of type '{other}'; give"):
        models.locate(str(file), base=base)


def test_an_adapter_is_no_model(llama_folder: Path, tmp_path: Path) -> None:
    save_tiny_adapter(llama_folder, tmp_path / "peft")
    file = save_tiny_gguf_adapter(tmp_path / "peft", llama_folder, tmp_path / "a.gguf", alpha=2)
    with pytest.raises(
        ModelError, match="not a whole model; pass it as --tuned, and the weights of its base"
    ):
        models.locate(str(file))


def test_a_model_keeps_the_chat_template_of_its_file(llama_folder: Path, tmp_path: Path) -> None:
    file = save_tiny_gguf(llama_folder, tmp_path / "m.gguf", chat=CHAT)
    _, tokenizer = models.load(models.locate(str(file)))
    assert tokenizer.chat_template == CHAT
