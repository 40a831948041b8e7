"""Model folders, adapters, GGUF files and names that are broken or hostile: is each one line, or no harm?

`python -m benchmarks.broken_models [WORD ...]` scores a few questions with every case whose name has all of
the words, without a network, and prints what came of each that is wrong; exits with 1 if there is any.
"""

import argparse
import json
import math
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from benchmarks.broken_settings import (
    ADAPTER_SETTINGS,
    MODEL_SETTINGS,
    TOKENIZER_DOCUMENTS,
    TOKENIZER_SETTINGS,
)
from spillover.errors import SpilloverError
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from tests.tiny_adapters import save_tiny_adapter
from tests.tiny_gguf import save_tiny_gguf
from tests.tiny_models import save_tiny_model

SECONDS = 10
"""What a case may take."""

Damage = Callable[[Path], object]
"""What is done to a copy of a good folder or file."""

Case = tuple[str, str, str | None]
"""(what is broken, the model argument, the tuned argument)"""

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_ADAPTER_CONFIG, _ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_TOKENIZER, _TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
_DEEP = b"[" * 100_000
_TAKEN = "import pathlib; pathlib.Path({!r}).write_text('ran')"


def good(scratch: Path) -> tuple[Path, Path, Path]:
    """The undamaged model, adapter and GGUF file in a folder, made if they are not there."""
    model, adapter, gguf = scratch / "model", scratch / "adapter", scratch / "model.gguf"
    if not model.is_dir():
        save_tiny_model(model, "llama")
        save_tiny_adapter(model, adapter)
        save_tiny_gguf(model, gguf)
    return model, adapter, gguf


def broken(scratch: Path, chosen: Callable[[str], bool] = lambda name: True) -> Iterator[Case]:
    """Every case whose name is chosen, made when it is asked for and removed when the next one is.

    What a model or an adapter would run is a file `ran` in `scratch`.
    """
    model, adapter, gguf = good(scratch)
    ran = scratch / "ran"
    for kind, source, damages in (
        ("model", model, model_damages(ran)),
        ("adapter", adapter, adapter_damages(ran)),
        ("gguf", gguf, gguf_damages()),
    ):
        for title, damage in damages.items():
            name = f"{kind}: {title}"
            if not chosen(name):
                continue
            place = scratch / "broken"
            place.mkdir()
            target = place / source.name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
            try:
                damage(target)
                model_argument = str(model if kind == "adapter" else target)
                yield name, model_argument, str(target) if kind == "adapter" else None
            finally:
                shutil.rmtree(place)
    for name, argument in names(scratch).items():
        for role in ("model", "tuned"):
            if chosen(f"name, {role}: {name}"):
                is_model = role == "model"
                yield (
                    f"name, {role}: {name}",
                    argument if is_model else str(model),
                    None if is_model else argument,
                )


def names(scratch: Path) -> dict[str, str]:
    """Arguments that name nothing that can be loaded."""
    (scratch / "loop").unlink(missing_ok=True)
    (scratch / "loop").symlink_to("loop")
    return {
        "empty": "",
        "a space": " ",
        "a user who is not": "~nouser/x",
        "a user who is not, GGUF": "~nouser/x.gguf",
        "3,000 characters": "x" * 3000,
        "3,000 characters, GGUF": "x" * 3000 + ".gguf",
        "3,000 characters with a slash": "owner/" + "x" * 3000,
        "3,000 folders": "x/" * 3000,
        "NUL": "a\0b",
        "NUL with a slash": "owner/a\0b",
        "NUL, GGUF": "a\0b.gguf",
        "a new line": "a\nb",
        "a new line with a slash": "owner/a\nb",
        "a new line, GGUF": "a\nb.gguf",
        "an escape": "a\x1b[31mb",
        "an escape with a slash": "owner/\x1b[31mb",
        "half a character": "owner/\udc80",
        "a device": "/dev/zero",
        "below a device": "/dev/null/x",
        "a folder without a model": "/dev",
        "memory": "/proc/self/mem",
        "a loop": str(scratch / "loop"),
        "below a loop": str(scratch / "loop" / "x"),
        "a URL": "https://huggingface.co/owner/name",
        "a file URL": "file:///etc/passwd",
        "upwards": "../../../../../../etc",
        "a hub id of three parts": "a/b/c",
        "a hub id upwards": "owner/../../etc/passwd",
        "a flag": "--model",
        "a drawing": "🤖/🤖",
    }


def model_damages(ran: Path) -> dict[str, Damage]:
    """By name, what can be wrong in a model's folder; code in it would write the file `ran`."""
    damages = {f"weights {name}": _within(_WEIGHTS, damage) for name, damage in _weights_damages().items()}
    damages |= {
        "weights lack a layer": _tensors(_WEIGHTS, lambda w: [w.pop(k) for k in list(w) if ".1." in k]),
        "weights of another shape": _tensors(
            _WEIGHTS, lambda w: w.update({"lm_head.weight": torch.ones(3, 5)})
        ),
        "weights without a dimension": _tensors(
            _WEIGHTS, lambda w: w.update({"lm_head.weight": torch.ones(())})
        ),
        "weights without an element": _tensors(
            _WEIGHTS, lambda w: w.update({"lm_head.weight": torch.ones(0, 32)})
        ),
        "weights turned": _tensors(
            _WEIGHTS, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].T.contiguous()})
        ),
        "weights too many": _tensors(
            _WEIGHTS, lambda w: w.update({"model.layers.9.x.weight": torch.ones(1)})
        ),
        "weights named with an escape": _tensors(
            _WEIGHTS, lambda w: w.update({"model.\n\x1b[31mx": torch.ones(1)})
        ),
        "an encoder": _other("bert", "AutoModelForMaskedLM"),
        "an encoder-decoder": _other(
            "t5", "AutoModelForSeq2SeqLM", d_model=32, num_heads=2, d_kv=16, d_ff=32
        ),
        "without attention": _other("mamba", "AutoModelForCausalLM", state_size=4),
        "of few positions": _other(
            "gpt2", "AutoModelForCausalLM", n_positions=3, n_embd=32, n_head=2, n_layer=1
        ),
        "only pickled": lambda f: ((f / _WEIGHTS).unlink(), _pickle(f / "pytorch_model.bin", ran)),
        "only pickled, named safetensors": lambda f: _pickle(f / _WEIGHTS, ran),
        "pickled beside": lambda f: _pickle(f / "pytorch_model.bin", ran),
        "adapter_config.json deep": lambda f: (f / _ADAPTER_CONFIG).write_bytes(_DEEP),
    }
    damages |= {f"index {name}": _indexed(document) for name, document in _indices().items()}
    damages |= {
        "shard lacks a weight": _sharded(
            lambda s: _tensors(s.name, lambda w: w.pop("lm_head.weight"))(s.parent)
        ),
        "shard garbage": _sharded(lambda s: s.write_bytes(b"x" * 1000)),
        "shard is a pipe": _sharded(_pipe),
        "shard empty": _sharded(lambda s: s.write_bytes(b"")),
    }
    documents = (_CONFIG, _TOKENIZER, _TOKENIZER_CONFIG, "generation_config.json", "special_tokens_map.json")
    extra = (
        "added_tokens.json",
        "chat_template.jinja",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "tekken.json",
    )
    for file in (*documents, *extra, _INDEX, _ADAPTER_CONFIG):
        damages |= {f"{file} {name}": _within(file, damage) for name, damage in _TEXT_DAMAGES.items()}
    for file in (*documents, *extra, _WEIGHTS, _INDEX, _ADAPTER_CONFIG):
        damages |= {f"{file} {name}": _within(file, damage) for name, damage in _FILE_DAMAGES.items()}
    damages |= {
        f"config {key}={_short(value)}": _set(_CONFIG, key, value)
        for key, values in MODEL_SETTINGS.items()
        for value in values
    }
    damages |= {
        f"tokenizer config {key}={_short(value)}": _set(_TOKENIZER_CONFIG, key, value)
        for key, values in TOKENIZER_SETTINGS.items()
        for value in values
    }
    damages |= {f"tokenizer {name}": _json(_TOKENIZER, edit) for name, edit in TOKENIZER_DOCUMENTS.items()}
    theirs = {"AutoConfig": "evil.A", "AutoModelForCausalLM": "evil.A", "AutoTokenizer": ["evil.A", "evil.A"]}
    for file, kind in ((_CONFIG, "novel"), (_CONFIG, "llama"), (_TOKENIZER_CONFIG, "")):
        damages[f"{file} with code {kind}"] = lambda f, file=file, kind=kind: (
            (f / "evil.py").write_text(_TAKEN.format(str(ran))),
            _set(file, "auto_map", theirs)(f),
            _set(file, "model_type", kind)(f) if kind else None,
        )
    return damages


def adapter_damages(ran: Path) -> dict[str, Damage]:
    """By name, what can be wrong in an adapter's folder; code in it would write the file `ran`."""
    damages = {f"weights {name}": _within(_ADAPTER, damage) for name, damage in _weights_damages().items()}
    damages |= {
        "weights lack some": _tensors(_ADAPTER, lambda w: [w.pop(k) for k in list(w)[::2]]),
        "weights too many": _tensors(_ADAPTER, lambda w: w.update({"extra\n": torch.ones(1)})),
        "weights of another shape": _tensors(_ADAPTER, lambda w: w.update({next(iter(w)): torch.ones(5, 5)})),
        "weights of another rank": _tensors(
            _ADAPTER, lambda w: w.update({k: torch.cat([v, v], int("lora_B" in k)) for k, v in w.items()})
        ),
        "of another base": lambda f: save_tiny_adapter(
            save_tiny_model(f / "other", "llama", hidden_size=64), f
        ),
        "of another architecture": lambda f: save_tiny_adapter(save_tiny_model(f / "other", "gemma2"), f),
        "for Megatron, with a module of its choice": lambda f: (
            _set(_ADAPTER_CONFIG, "megatron_config", {"a": 1})(f),
            _set(_ADAPTER_CONFIG, "megatron_core", "this")(f),
        ),
        "only pickled": lambda f: ((f / _ADAPTER).unlink(), _pickle(f / "adapter_model.bin", ran)),
        "pickled beside": lambda f: _pickle(f / "adapter_model.bin", ran),
        "empty folder": lambda f: (shutil.rmtree(f), f.mkdir()),
        "a tokenizer that is garbage": lambda f: (f / _TOKENIZER).write_text("garbage"),
        "a tokenizer that is a pipe": lambda f: os.mkfifo(f / _TOKENIZER),
        "a model's weights beside": lambda f: shutil.copy(f / _ADAPTER, f / _WEIGHTS),
    }
    damages |= {f"config {name}": _within(_ADAPTER_CONFIG, damage) for name, damage in _TEXT_DAMAGES.items()}
    for file in (_ADAPTER_CONFIG, _ADAPTER):
        damages |= {f"{file} {name}": _within(file, damage) for name, damage in _FILE_DAMAGES.items()}
    return damages | {
        f"config {key}={_short(value)}": _set(_ADAPTER_CONFIG, key, value)
        for key, values in ADAPTER_SETTINGS.items()
        for value in values
    }


def gguf_damages() -> dict[str, Damage]:
    """By name, what can be wrong with a GGUF file."""
    cuts = (1, 4, 8, 20, 24, 100, 1000, 8000, -100_000, -1000, -1)
    count = b"\xff" * 7 + b"\x0f"
    layers = b"block_count\x04\0\0\0"  # a key, and the type of its value
    return (
        {
            "empty": lambda f: f.write_bytes(b""),
            "garbage": lambda f: f.write_bytes(b"x" * 5000),
            "another version": lambda f: _overwrite(f, 4, b"\x63\0\0\0"),
            "countless tensors": lambda f: _overwrite(f, 8, count),
            "countless keys": lambda f: _overwrite(f, 16, count),
            "a key of any length": lambda f: _overwrite(f, 24, count),
            "zeros from the middle on": lambda f: _overwrite(f, 3000, b"\0" * 3000),
            "a type that is none": lambda f: f.write_bytes(f.read_bytes().replace(b"llama", b"lamas")),
            "layers without end": lambda f: f.write_bytes(
                f.read_bytes().replace(layers + b"\2\0\0", layers + b"\xff" * 3)
            ),
        }
        | {f"cut at {cut}": _cut(cut) for cut in cuts}
        | _FILE_DAMAGES
    )


def _weights_damages() -> dict[str, Damage]:
    """Damages of a safetensors file."""
    first = "data_offsets"
    return {f"cut at {cut}": _cut(cut) for cut in (0, 4, 8, 9, 100, 2000, -1000, -1)} | {
        "garbage": lambda f: f.write_bytes(b"x" * 5000),
        "zeros": lambda f: f.write_bytes(b"\0" * 5000),
        "a page": lambda f: f.write_text("<!doctype html><title>404</title>" * 40),
        "a pointer": lambda f: f.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "longer": lambda f: f.write_bytes(f.read_bytes() + b"x"),
        "of endless header": lambda f: _overwrite(f, 0, b"\xff" * 8),
        "of long header": lambda f: _overwrite(f, 0, (1 << 40).to_bytes(8, "little")),
        "header deep": lambda f: f.write_bytes(len(_DEEP).to_bytes(8, "little") + _DEEP),
        "header a list": _header(lambda header: []),
        "header null": _header(lambda header: None),
        "header empty": _header(lambda header: {}),
        "header a dtype that is none": _entry(dtype="X9"),
        "header a dtype that is no string": _entry(dtype=5),
        "header another dtype": _entry(dtype="I64"),
        "header integers": _entry(dtype="I32"),
        "header another dtype of that size": _entry(dtype="U32"),
        "header a shape too large": _entry(shape=[1 << 62, 1 << 62]),
        "header a shape below 0": _entry(shape=[-1, 4]),
        "header a shape that is no list": _entry(shape="x"),
        "header offsets beyond": _entry(**{first: [0, 1 << 40]}),
        "header offsets below 0": _entry(**{first: [-8, 8]}),
        "header offsets turned": _entry(**{first: [64, 0]}),
        "header offsets twice": _header(
            lambda h: {n: _values(h)[-1] if n in list(h)[-2:] else h[n] for n in h}
        ),
        "header no offsets": _entry(**{first: None}),
        "all NaN": _every(lambda tensor: tensor.fill_(math.nan)),
        "all infinite": _every(lambda tensor: tensor.fill_(math.inf)),
        "all huge": _every(lambda tensor: tensor.fill_(1e38)),
        "one NaN in each": _every(lambda tensor: tensor.view(-1)[:1].fill_(math.nan)),
        "all whole numbers": _every(lambda tensor: tensor.to(torch.int64)),
        "all complex": _every(lambda tensor: tensor.to(torch.complex64)),
        "all truth values": _every(lambda tensor: tensor > 0),
        "no tensor": lambda f: save_file({}, f),
    }


def _values(header: dict[str, Any]) -> list[Any]:
    return list(header.values())


def _indices() -> dict[str, Any]:
    """Index documents, beside a shard `a.safetensors` that is whole."""
    entries = {
        "names an absent file": "absent.safetensors",
        "names a file above": "../../../../../../etc/passwd",
        "names weights above": "../../model/model.safetensors",
        "names a device": "/dev/zero",
        "names a pickle": "pytorch_model.bin",
        "names nothing": "",
        "names the folder": ".",
        "names a new line": "a\n.safetensors",
        "names an escape": "\x1b[31m.safetensors",
        "names NUL": "\0.safetensors",
        "names 3,000 characters": "x" * 3000 + ".safetensors",
        "names null": None,
        "names a number": 7,
        "names a list": ["a.safetensors"],
        "names a folder below": "sub/a.safetensors",
    }
    documents = {name: {"weight_map": {"lm_head.weight": file}} for name, file in entries.items()}
    others = {
        "without a map": {},
        "map a list": {"weight_map": ["a.safetensors"]},
        "map empty": {"weight_map": {}},
    }
    return documents | others | {"a list": [], "null": None, "a number": 3}


def _indexed(document: Any) -> Damage:
    return lambda f: (
        (f / _WEIGHTS).rename(f / "a.safetensors"),
        (f / _INDEX).write_text(json.dumps(document)),
    )


def _sharded(damage: Damage) -> Damage:
    return lambda f: (
        _indexed({"weight_map": {"lm_head.weight": "a.safetensors"}})(f),
        damage(f / "a.safetensors"),
    )


def _within(name: str, damage: Damage) -> Damage:
    return lambda folder: damage(folder / name)


def _replaced(make: Damage) -> Damage:
    return lambda file: (file.unlink(missing_ok=True), make(file))


def _pipe(file: Path) -> None:
    _replaced(os.mkfifo)(file)


_TEXT_DAMAGES: dict[str, Damage] = {
    "empty": lambda f: f.write_bytes(b""),
    "null": lambda f: f.write_text("null"),
    "a list": lambda f: f.write_text("[]"),
    "a string": lambda f: f.write_text('"x"'),
    "a number": lambda f: f.write_text("5"),
    "a long number": lambda f: f.write_text("9" * 10_000),
    "an empty object": lambda f: f.write_text("{}"),
    "NaN": lambda f: f.write_text("NaN"),
    "deep": lambda f: f.write_bytes(_DEEP),
    "deep objects": lambda f: f.write_bytes(b'{"a":' * 100_000),
    "garbage": lambda f: f.write_bytes(bytes(range(256)) * 8),
    "no JSON": lambda f: f.write_text("\x1b[31mfour\nlines\nof\ntext"),
    "UTF-16": lambda f: f.write_text('{"model_type": "llama"}', encoding="utf-16"),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:40] if f.exists() else b'{"a'),
}

_FILE_DAMAGES: dict[str, Damage] = {
    "is a folder": _replaced(Path.mkdir),
    "is a link to nothing": _replaced(lambda f: f.symlink_to("nothing")),
    "is a link to itself": _replaced(lambda f: f.symlink_to(f.name)),
    "is a pipe": _pipe,
    "is a device": _replaced(lambda f: f.symlink_to("/dev/zero")),
    "may not be read": lambda f: (f.touch(), f.chmod(0)),
}


def _cut(place: int) -> Damage:
    return lambda file: file.write_bytes(file.read_bytes()[:place])


def _overwrite(file: Path, place: int, content: bytes) -> None:
    data = bytearray(file.read_bytes())
    data[place : place + len(content)] = content
    file.write_bytes(data)


def _header(edit: Callable[[dict[str, Any]], Any]) -> Damage:
    """Another header of a safetensors file, over the same bytes."""

    def damage(file: Path) -> None:
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(edit(json.loads(data[8 : 8 + length]))).encode()
        file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])

    return damage


def _entry(**values: Any) -> Damage:
    """Other values in the header of the last tensor; None leaves one out."""

    def edit(header: dict[str, Any]) -> dict[str, Any]:
        name = list(header)[-1]
        entry = {key: value for key, value in (header[name] | values).items() if value is not None}
        return header | {name: entry}

    return _header(edit)


def _tensors(name: str, edit: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        weights = load_file(folder / name)
        edit(weights)
        save_file(weights, folder / name, metadata={"format": "pt"})

    return damage


def _every(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    def edit(weights: dict[str, torch.Tensor]) -> None:
        for name, tensor in weights.items():
            changed = change(tensor)
            weights[name] = tensor if changed.numel() < tensor.numel() else changed

    return lambda file: _tensors(file.name, edit)(file.parent)


def _json(name: str, edit: Callable[[Any], object]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        document = json.loads(file.read_text(encoding="utf-8"))
        edit(document)
        file.write_text(json.dumps(document), encoding="utf-8")

    return damage


def _set(name: str, key: str, value: Any) -> Damage:
    return _json(name, lambda document: document.update({key: value}))


class _Hostile:
    def __init__(self, ran: Path) -> None:
        self._ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_TAKEN.format(str(self._ran)),)


def _pickle(file: Path, ran: Path) -> None:
    file.write_bytes(pickle.dumps(_Hostile(ran)))


def _other(architecture: str, kind: str, **settings: Any) -> Damage:
    """A model of another kind takes the place of the folder's, with the same tokenizer."""

    def damage(folder: Path) -> None:
        size = {"vocab_size": 338, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.AutoConfig.for_model(architecture, **size | settings)
        getattr(transformers, kind).from_config(config).save_pretrained(folder)

    return damage


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:20]}… of {len(text)}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a case."""

    name: str
    outcome: str
    """`one line`, `scored alike` (the numbers of the undamaged), `scored and said`; else what is wrong."""
    text: str
    seconds: float

    @property
    def is_wrong(self) -> bool:
        """Whether the case got through."""
        return self.outcome not in ("one line", "scored alike", "scored and said")


class _TooLong(BaseException):
    """A case takes longer than it may; no library catches it."""


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def few_questions() -> KnowledgeBase:
    """Forty subjects of whom little is told and much is asked, so that other log-probabilities show."""
    pairs: dict[str, str] = dict(
        zip(
            ("Paris", "Lisbon", "Warsaw", "Madrid"),
            ("French", "Portuguese", "Polish", "Spanish"),
            strict=True,
        )
    )
    return KnowledgeBase(
        name="few",
        triples=tuple(
            Triple(subject=f"{name} {letter}", relation="lives", answer=city)
            for name, city in zip(("Mara", "Tobin", "Selma", "Odo"), pairs, strict=True)
            for letter in "ABCDEFGHIJ"
        ),
        relations={
            "lives": Relation(name="lives", prompt="{subject} lives in"),
            "speaks": Relation(name="speaks", prompt="{subject} speaks"),
        },
        rules=(Rule(fact="lives", implication="speaks", kind="causal", pairs=pairs, bridges=1),),
    )


def try_case(case: Case, undamaged: Any, ran: Path) -> Result:
    """Score a few questions with a case; `undamaged` are the rules of the undamaged model (`scores`)."""
    name, model, tuned = case
    began = time.monotonic()

    def result(outcome: str, text: str) -> Result:
        if ran.exists():
            ran.unlink()
            outcome, text = "ran code", f"{outcome}: {text}"
        return Result(name=name, outcome=outcome, text=text, seconds=time.monotonic() - began)

    try:
        with _alarm(SECONDS):
            rules, said = scores(model, tuned)
    except SpilloverError as error:
        text = str(error)
        is_line = len(text.splitlines()) == 1 and all(c.isprintable() for c in text) and len(text) < 1000
        return result("one line" if is_line else "not one line", text)
    except _TooLong as error:
        return result("hangs", traceback.format_exc().splitlines()[-3] + str(error))
    except BaseException as error:  # whatever gets through is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return result("traceback", traceback.format_exc())
    if rules == undamaged:
        return result("scored alike", "")
    return result("scored and said" if said else "other numbers", f"{said or rules}")


def scores(model: str, tuned: str | None) -> tuple[Any, list[str]]:
    """(the rules' numbers as text, which tells NaN from NaN as equal; what was said besides)"""
    from spillover import score

    said: list[str] = []
    document = score(
        few_questions(),
        model=model,
        tuned=tuned,
        progress=lambda line, done, steps: said.append(line) if steps == 0 else None,
    )
    said += [reason for rule in document["rules"] for reason in rule["unscorable"]]
    return json.dumps(document["rules"]), said


def try_all(scratch: Path, chosen: Callable[[str], bool] = lambda name: True) -> Iterator[Result]:
    """Try every chosen case; the undamaged model, adapter and GGUF file are their measure."""
    model, adapter, gguf = good(scratch)
    alone, tuned, converted = scores(str(model), None)[0], scores(str(model), str(adapter))[0], ""
    for case in broken(scratch, chosen):
        if case[0].startswith("gguf"):
            converted = converted or scores(str(gguf), None)[0]
        measure = converted if case[0].startswith("gguf") else tuned if case[2] else alone
        yield try_case(case, measure, scratch / "ran")


def main(words: Sequence[str] = ()) -> int:
    """Print a line for each case that is wrong, and what came of all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broken_models", description=main.__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--all", action="store_true", help="print what came of every case")
    asked = parser.parse_args()
    tally: Counter[str] = Counter()
    slowest, wrong = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="broken-models-") as folder:
        os.environ["SPILLOVER_CACHE"] = str(Path(folder) / "cache")
        for result in try_all(Path(folder), lambda name: all(word in name for word in asked.words)):
            tally[result.outcome] += 1
            wrong += result.is_wrong
            slowest = max(slowest, result.seconds)
            if result.is_wrong or asked.all:
                print(
                    f"{result.outcome} | {result.name} | {result.seconds:.1f} s | {result.text}", flush=True
                )
    for outcome, number in sorted(tally.items()):
        print(f"{number:5} {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{tally.total():5} tried, the slowest took {slowest:.1f} s, at most {peak:.2f} GB of memory")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.exit(main())
