"""What can be wrong in the weights of a model or an adapter, and in the index of a model's shards."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.damages_of_files import DEEP, WEIGHTS, Damage, cut_at, overwrite

INDEX = "model.safetensors.index.json"


def weights_damages() -> dict[str, Damage]:
    """By name, damages of a safetensors file."""
    first = "data_offsets"
    return {f"cut at {cut}": cut_at(cut) for cut in (0, 4, 8, 9, 100, 2000, -1000, -1)} | {
        "garbage": lambda f: f.write_bytes(b"x" * 5000),
        "zeros": lambda f: f.write_bytes(b"\0" * 5000),
        "a page": lambda f: f.write_text("<!doctype html><title>404</title>" * 40),
        "a pointer": lambda f: f.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "longer": lambda f: f.write_bytes(f.read_bytes() + b"x"),
        "of endless header": lambda f: overwrite(f, 0, b"\xff" * 8),
        "of long header": lambda f: overwrite(f, 0, (1 << 40).to_bytes(8, "little")),
        "header deep": lambda f: f.write_bytes(len(DEEP).to_bytes(8, "little") + DEEP),
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


def with_tensors(name: str, edit: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """Other tensors in the safetensors file of that name: `edit` changes them in place."""

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

    return lambda file: with_tensors(file.name, edit)(file.parent)


def indices() -> dict[str, Any]:
    """By name, index documents that are wrong beside a shard `a.safetensors` that is whole."""
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


def indexed(document: Any) -> Damage:
    """A model's weights become the shard `a.safetensors`, beside such an index."""
    return lambda f: (
        (f / WEIGHTS).rename(f / "a.safetensors"),
        (f / INDEX).write_text(json.dumps(document)),
    )


def sharded(damage: Damage) -> Damage:
    """The same, with a good index and a damaged shard."""
    return lambda f: (
        indexed({"weight_map": {"lm_head.weight": "a.safetensors"}})(f),
        damage(f / "a.safetensors"),
    )
