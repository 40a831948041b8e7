"""From a folder to a model: exactly what the files say, and every refusal."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.errors import ModelError
from spillover.llm import models
from tests.tiny_models import save_tiny_model

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def folder(llama_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Llama, to be spoilt."""
    return shutil.copytree(llama_folder, tmp_path / "model")


def edit_weights(folder: Path, edit: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_every_architecture_loads(tiny_folder: Path) -> None:
    model, tokenizer = models.load(models.locate(str(tiny_folder)))
    assert model.dtype == torch.float32
    assert not model.training
    assert tokenizer.pad_token_id is not None


def test_pickled_weights_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    for file in llama_folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"no \.safetensors weights"):
        models.load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model\.bin\)"):
        models.load(tmp_path)


def test_code_of_a_model_is_never_run(llama_folder: Path, tmp_path: Path) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "novel", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds a LoRA adapter"):
        models.load(tmp_path)


def test_pickled_adapters_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="pickled adapters are refused"):
        models.load(llama_folder, tuned=tmp_path)


def test_the_package_imports_no_torch() -> None:
    code = "import sys, spillover, spillover.cli; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_weights_are_float32_whatever_they_are_saved_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, too, where the default was bfloat16: the device is only the place."""
    plain, _ = models.load(folder)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *place: module)
    model, _ = models.load(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other.bfloat16().float())
    monkeypatch.undo()
    assert models.load(folder, dtype="bfloat16")[0].dtype == torch.bfloat16


def test_a_dtype_that_is_none(folder: Path) -> None:
    with pytest.raises(ModelError, match="dtype must be one of float32, bfloat16, got 'int8'"):
        models.load(folder, dtype="int8")


def test_sharded_weights(folder: Path, llama_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama_folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(models.load(folder)[0](IDS).logits, model(IDS).logits)


def test_the_base_is_named_in_what_is_loaded(folder: Path) -> None:
    assert models.load(folder)[0].name_or_path == str(folder)


def test_how_text_is_generated_is_kept(folder: Path, tmp_path: Path) -> None:
    edit_json(folder / "generation_config.json", eos_token_id=[0, 7])
    models.save(*models.load(folder), tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "generation_config.json").read_text())["eos_token_id"] == [0, 7]


def test_a_missing_layer_is_not_filled_at_random(folder: Path) -> None:
    edit_weights(folder, lambda w: [w.pop(name) for name in list(w) if ".layers.1." in name])
    with pytest.raises(
        ModelError, match=r"lacks 9 of the model's weights \(first model\.layers\.1\..*at random"
    ):
        models.load(folder)


def test_a_tied_weight_may_be_there_once(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tied", "llama", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    models.load(folder)
    edit_weights(folder, lambda w: w.pop("model.embed_tokens.weight"))
    with pytest.raises(ModelError, match="lacks 2 of the model's weights"):
        models.load(folder)


def test_a_configuration_with_fewer_layers_than_the_weights(folder: Path) -> None:
    edit_json(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(
        ModelError, match=r"has 9 weights that its configuration has no place for \(first model\.layers\.1\."
    ):
        models.load(folder)


def test_a_configuration_of_another_shape(folder: Path) -> None:
    edit_json(folder / "config.json", intermediate_size=40)
    with pytest.raises(
        ModelError, match=r"down_proj\.weight has shape \[32, 48\] where its configuration says \[32, 40\]"
    ):
        models.load(folder)


def test_a_head_that_the_architecture_does_not_have_is_passed_over(folder: Path) -> None:
    before, _ = models.load(folder)
    edit_weights(folder, lambda w: w.update({"v_head.summary.weight": torch.ones(1, 32)}))
    assert torch.equal(models.load(folder)[0](IDS).logits, before(IDS).logits)


@pytest.mark.parametrize("spoil", [lambda data: data[:-1000], lambda data: data[:5], lambda data: b"x" * 900])
def test_a_broken_safetensors_file_is_one_line(folder: Path, spoil: Any) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(
        ModelError, match=r"model\.safetensors is no whole safetensors file .* fetch"
    ) as caught:
        models.load(folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", r"names pytorch_model\.bin, which is no \.safetensors file of this folder"),
        ("../model.safetensors", r"names \.\./model\.safetensors, which is no \.safetensors file of this"),
        ("model-1.safetensors", r"lacks model-1\.safetensors, which its index names"),
        (7, "is no index of weights"),
    ],
)
def test_only_safetensors_of_the_folder_that_are_there_are_loaded(
    folder: Path, name: Any, message: str
) -> None:
    """Beside a decoy that has the weights, and would have been all that was hashed."""
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for reader in (models.load, models.identity):
        with pytest.raises(ModelError, match=message):
            reader(folder)


def test_a_folder_without_a_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        models.identity(folder)
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load(folder)


def test_a_folder_cannot_be_told_to_load_other_files(folder: Path) -> None:
    """Nor by its configuration, nor by an adapter left over in it, as transformers would."""
    before, _ = models.load(folder)
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    edit_weights(folder, lambda w: w["lm_head.weight"].mul_(2))
    edit_json(folder / "config.json", transformers_weights="other.safetensors")
    (folder / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "else/where"}'
    )
    assert not models.is_adapter(folder)
    torch.testing.assert_close(models.load(folder)[0](IDS).logits, 2 * before(IDS).logits)
    torch.testing.assert_close(models.load(folder, tuned=folder)[0](IDS).logits, 2 * before(IDS).logits)


def test_identity_covers_what_is_loaded_and_nothing_else(folder: Path) -> None:
    seen = {models.identity(folder)}
    (folder / "stray.safetensors").write_bytes(b"of no concern")
    (folder / "README.md").write_text("of no concern")
    edit_json(folder / "generation_config.json", temperature=0.5)
    assert {models.identity(folder)} == seen
    edit_weights(folder, lambda w: w["lm_head.weight"].add_(1))
    seen.add(models.identity(folder))
    edit_json(folder / "config.json", rms_norm_eps=0.1)
    seen.add(models.identity(folder))
    edit_json(folder / "tokenizer_config.json", add_bos_token=True)
    seen.add(models.identity(folder))
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace("Mara", "Sara"))
    seen.add(models.identity(folder))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    seen.add(models.identity(folder))
    assert len(seen) == 6


def test_a_tuned_model_without_a_tokenizer_has_the_bases(folder: Path, llama_folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    edit_weights(folder, lambda w: w["lm_head.weight"].mul_(2))
    base, own = models.load(llama_folder)
    model, tokenizer = models.load(llama_folder, tuned=folder)
    assert tokenizer("Mara lives in Paris").input_ids == own("Mara lives in Paris").input_ids
    torch.testing.assert_close(model(IDS).logits, 2 * base(IDS).logits)
    with pytest.raises(ModelError, match="has no tokenizer"):
        models.load(folder)


def test_the_bases_tokenizer_may_be_too_large(folder: Path, llama_folder: Path) -> None:
    small = AutoModelForCausalLM.from_pretrained(llama_folder)
    small.resize_token_embeddings(300)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    small.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"tokenizer of .* has \d+ tokens, and .* has weights for 300"):
        models.load(llama_folder, tuned=folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_tokenizer(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    with pytest.raises(ModelError, match=r"the tokenizer in .* cannot be loaded") as caught:
        models.load(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tokenizer_without_special_tokens(folder: Path) -> None:
    """Some token stands in for the pad token, and is not cut out of the texts once the model is saved."""
    document = json.loads((folder / "tokenizer.json").read_text())
    special = document.pop("added_tokens")[0]["content"]
    vocabulary = document["model"]["vocab"]
    vocabulary["u"], vocabulary[special] = vocabulary[special], vocabulary["u"]  # "u" is now token 0
    (folder / "tokenizer.json").write_text(json.dumps(document | {"added_tokens": []}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    plain = AutoTokenizer.from_pretrained(folder)
    model, tokenizer = models.load(folder)
    assert (plain.pad_token_id, plain.eos_token_id, tokenizer.pad_token_id) == (None, None, 0)
    models.save(model, tokenizer, folder)
    assert tokenizer.pad_token_id == 0
    _, again = models.load(folder)
    text = "speaks Portuguese"
    assert plain(text).input_ids == tokenizer(text).input_ids == again(text).input_ids
