"""Broken and hostile models: one line each, before they cost anything; see `benchmarks.broken_models`."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.broken_models import broken, good, scores, try_all, try_case
from spillover.errors import DataError, ModelError, RunError, SpilloverError
from spillover.llm import configuration, models, sources, weights
from spillover.llm.border import border
from spillover.llm.finetune import finetune
from tests.llm.tuning import CONFIG, EXAMPLES

TRIED = 25


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    good(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPILLOVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def all_names(scratch: Path) -> list[str]:
    names: list[str] = []
    assert not list(broken(scratch, lambda name: bool(names.append(name))))
    return names


def test_a_selection_of_all_cases(scratch: Path) -> None:
    names = all_names(scratch)
    assert len(set(names)) > 800
    chosen = random.Random(0).sample(sorted(set(names)), TRIED)  # noqa: S311 - cases, not secrets
    results = list(try_all(scratch, set(chosen).__contains__))
    assert {result.name for result in results} == set(chosen)
    assert [result for result in results if result.is_wrong] == []
    assert Counter(result.outcome for result in results)["one line"] > TRIED / 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        # names
        ("name, model: a user who is not", r"'~nouser/x' cannot be read .*home directory"),
        ("name, model: 3,000 characters", r"'xxx.*\.\.\..*' cannot be read \(File name too long\)"),
        ("name, model: NUL, GGUF", r"model file a\\x00b\.gguf does not exist"),
        ("name, model: a new line with a slash", r"'owner/a\\nb' is no local folder"),
        ("name, model: empty", r"model '' is no local folder"),
        # files that are none
        ("model: tokenizer.json is a pipe", r"tokenizer\.json cannot be read: it is no plain file"),
        (
            "model: tokenizer_config.json is a device",
            r"tokenizer_config\.json cannot be read: it is no plain",
        ),
        ("model: config.json is a folder", r"config\.json cannot be read: it is no plain file"),
        ("model: tokenizer.json is a link to nothing", r"tokenizer\.json cannot be read: No such file"),
        ("model: model.safetensors is a link to itself", r"safetensors cannot be read: Too many levels"),
        ("adapter: a tokenizer that is a pipe", r"tokenizer\.json cannot be read: it is no plain file"),
        # the index of shards
        (
            "model: index names 3,000 characters",
            r"names 'xxx.*, which is no \.safetensors file of this folder",
        ),
        ("model: index names a new line", r"names a\\n\.safetensors, which is no \.safetensors file"),
        # sizes
        ("model: config hidden_size=1000000000", r"has shape \[\d+, 32\].* says \[\d+, 1000000000\]"),
        (
            "model: config num_hidden_layers=1000000000",
            r"num_hidden_layers 1000000000, at most 2000 can be",
        ),
        ("model: config num_hidden_layers=100000", r"num_hidden_layers 100000, at most 2000 can be"),
        ("model: config num_labels=1000000000", r"num_labels 1000000000, at most"),
        ("model: config head_dim=1000000000", r"asks for tables of 4\.0 GB beside the weights"),
        ("gguf: layers without end", r"says that it has \d+ blocks, at most 10000 can be"),
        # what a configuration asks for
        ("model: config attn_implementation='flash_attention_2'", r"attention 'flash_attention_2', and only"),
        (
            "model: config _attn_implementation='owner/kernel'",
            r"attention 'owner/kernel', and only eager and",
        ),
        ("model: config sliding_window=-1", r"model .* cannot be run: "),
        ("model: config num_hidden_layers='2'", r"Validation error for field 'num_hidden_layers': TypeError"),
        ("model: config.json a list", r"config\.json is \[\] and no object"),
        ("model: config.json deep", r"cannot be loaded: maximum recursion depth"),
        ("model: config model_type='a\\x1b[31m\\nb'", r"model type `a\\x1b\[31m"),
        # what a model does
        ("model: an encoder", r"looks ahead, so it is no causal language model \(config\.json says bert\)"),
        ("model: without attention", r"keeps no keys and values of a text \(mamba\)"),
        ("model: an encoder-decoder", r"cannot be loaded: Unrecognized configuration class"),
        ("model: of few positions", r"cannot be run: "),
        ("model: config rms_norm_eps=inf", r"gives every token the same logit"),
        ("model: weights all NaN", r"gives no numbers"),
        ("model: weights all whole numbers", r"is of I64, and weights must be floating-point numbers"),
        ("adapter: weights all NaN", r"gives no numbers"),
        # tokenizers
        (
            "model: tokenizer of every word beyond the weights",
            r"the tokenizer makes token \d+, and .* for 338",
        ),
        ("model: tokenizer that makes much of little", r"makes 4294967296 characters of one, at most 1000"),
        # adapters
        ("adapter: config target_modules='(.+)+#'", r"'\(\.\+\)\+#', a repetition in a repetition"),
        (
            "adapter: config use_rslora='x'",
            r"use_rslora in its adapter_config\.json is 'x', it must be of type",
        ),
        ("adapter: config alora_invocation_tokens=[1]", r"acts only behind certain tokens"),
        ("adapter: for Megatron, with a module of its choice", r"is for Megatron"),
    ],
)
def test_one_line_that_says_what(scratch: Path, name: str, message: str) -> None:
    (result,) = (try_case(case, None, scratch / "ran") for case in broken(scratch, name.__eq__))
    assert result.outcome == "one line", result
    assert re.search(message, result.text), result


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model: tokenizer of half the words, without merges", "has 100 tokens, and .* has weights for 338"),
        ("model: tokenizer of a word twice", "has the same token for several words"),
        ("adapter: config init_lora_weights='pissa'", "started from pissa, so the weights of .* are changed"),
        ("adapter: config base_model_name_or_path=5", "was tuned from 5 and is put on"),
    ],
)
def test_what_is_doubtful_is_told(scratch: Path, name: str, message: str) -> None:
    (said,) = (scores(model, tuned)[1] for _, model, tuned in broken(scratch, name.__eq__))
    assert re.search(message, "\n".join(map(str, said)))


@pytest.mark.parametrize(
    "name",
    [
        "model: config return_dict=False",
        "model: config pad_token_id=-5",
        "model: tokenizer config pad_token='<none>'",  # a padding token without a weight
        "model: tokenizer that pads without end",
        "model: tokenizer that cuts",
    ],
)
def test_what_does_no_harm_scores_as_ever(scratch: Path, name: str) -> None:
    (result,) = try_all(scratch, name.__eq__)
    assert result.outcome == "scored alike", result


def test_a_model_of_many_modules_is_not_made(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "_MOST_MODULES", 20)
    with pytest.raises(ModelError, match="asks for more than 20 modules"):
        models.blank(scratch / "model")


def test_a_tune_meets_no_token_without_a_weight(scratch: Path, tmp_path: Path) -> None:
    for _, folder, _ in broken(scratch, "model: tokenizer of every word beyond the weights".__eq__):
        model, tokenizer = models.load(Path(folder))
        with pytest.raises(ModelError, match="the tokenizer makes token"):
            finetune(model, tokenizer, EXAMPLES, CONFIG, checkpoints=tmp_path)


def test_a_deep_index(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="is no index of weights"):
        weights.weight_files(tmp_path)


def test_nothing_that_is_missing_is_made(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that the configuration says is large is refused by the shapes alone."""
    made: list[int] = []
    make = torch.empty_like

    def make_and_count(tensor: torch.Tensor, **settings: Any) -> torch.Tensor:
        made.append(0 if settings.get("device") == torch.device("meta") else tensor.nbytes)
        return make(tensor, **settings)

    monkeypatch.setattr(torch, "empty_like", make_and_count)
    for _, model, _ in broken(scratch, "model: config vocab_size=339".__eq__):
        with pytest.raises(ModelError, match="has shape"):
            models.load(Path(model))
    assert max(made, default=0) < 339 * 32 * 4


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ModelError, match=r"config\.json cannot be read: it is not yours to read"):
        weights.identity(tmp_path)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ModelError, match=r"folder .* cannot be read: Permission denied"):
        weights.identity(tmp_path)
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)"):
        sources.locate(str(tmp_path))


def test_a_cache_that_cannot_be_written(scratch: Path, cache: Path) -> None:
    cache.write_text("no folder")
    with pytest.raises(
        RunError, match=r"cannot write .*; make room there, or set SPILLOVER_CACHE to a folder elsewhere"
    ):
        sources.locate(str(scratch / "model.gguf"))


def test_the_border_lets_ours_pass() -> None:
    with pytest.raises(DataError, match=r"^ours$"), border("theirs"):
        raise DataError("ours")
    with pytest.raises(KeyboardInterrupt), border("theirs"):
        raise KeyboardInterrupt


def test_the_border_makes_one_line_of_anything() -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    for error, told in (
        (RecursionError("deep"), "deep"),
        (ValueError("\n  of \x1b[31m\nmuch"), "of \\x1b[31m"),
        (KeyError(), "KeyError"),
        (ValueError("for 'x':\n  no number\n"), "for 'x': no number"),
        (panic("index"), "index"),
        (ValueError("x" * 400), "x" * 300 + "…"),
    ):
        with pytest.raises(ModelError) as caught, border("theirs", "mend it"):
            raise error
        assert str(caught.value) == f"theirs: {told}; mend it"


def test_an_error_is_one_line_whatever_is_put_into_it() -> None:
    assert str(SpilloverError("a\nb\x1b[31m “é” 日本")) == r"a\nb\x1b[31m “é” 日本"
