"""What can befall a file of a model, whatever it is for; and how its bytes or its JSON are made wrong."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Path], object]
"""What is done to a copy of a good folder or file."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
DEEP = b"[" * 100_000
"""What no parser should follow to its end."""


def within(name: str, damage: Damage) -> Damage:
    """The damage of a folder that is one of its file of that name."""
    return lambda folder: damage(folder / name)


def _replaced(make: Damage) -> Damage:
    return lambda file: (file.unlink(missing_ok=True), make(file))


def pipe(file: Path) -> None:
    """A pipe that nobody writes to takes the place of a file."""
    _replaced(os.mkfifo)(file)


TEXT_DAMAGES: dict[str, Damage] = {
    "empty": lambda f: f.write_bytes(b""),
    "null": lambda f: f.write_text("null"),
    "a list": lambda f: f.write_text("[]"),
    "a string": lambda f: f.write_text('"x"'),
    "a number": lambda f: f.write_text("5"),
    "a long number": lambda f: f.write_text("9" * 10_000),
    "an empty object": lambda f: f.write_text("{}"),
    "NaN": lambda f: f.write_text("NaN"),
    "deep": lambda f: f.write_bytes(DEEP),
    "deep objects": lambda f: f.write_bytes(b'{"a":' * 100_000),
    "garbage": lambda f: f.write_bytes(bytes(range(256)) * 8),
    "no JSON": lambda f: f.write_text("\x1b[31mfour\nlines\nof\ntext"),
    "UTF-16": lambda f: f.write_text('{"model_type": "llama"}', encoding="utf-16"),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:40] if f.exists() else b'{"a'),
}
"""By name, what can stand in a file of text instead."""

FILE_DAMAGES: dict[str, Damage] = {
    "is a folder": _replaced(Path.mkdir),
    "is a link to nothing": _replaced(lambda f: f.symlink_to("nothing")),
    "is a link to itself": _replaced(lambda f: f.symlink_to(f.name)),
    "is a pipe": pipe,
    "is a device": _replaced(lambda f: f.symlink_to("/dev/zero")),
    "may not be read": lambda f: (f.touch(), f.chmod(0)),
}
"""By name, what a file can be instead."""


def cut_at(place: int) -> Damage:
    """Keep so many bytes of a file; below 0, leave out so many."""
    return lambda file: file.write_bytes(file.read_bytes()[:place])


def overwrite(file: Path, place: int, content: bytes) -> None:
    """Other bytes from a place of a file on."""
    data = bytearray(file.read_bytes())
    data[place : place + len(content)] = content
    file.write_bytes(data)


def edited(name: str, edit: Callable[[Any], object]) -> Damage:
    """Another document in the JSON of that name: `edit` changes it in place."""

    def damage(folder: Path) -> None:
        file = folder / name
        document = json.loads(file.read_text(encoding="utf-8"))
        edit(document)
        file.write_text(json.dumps(document), encoding="utf-8")

    return damage


def with_entry(name: str, key: str, value: Any) -> Damage:
    """Another value in the JSON object of that name."""
    return edited(name, lambda document: document.update({key: value}))


def code(ran: Path) -> str:
    """Python that writes the file `ran` where it is run."""
    return f"import pathlib; pathlib.Path({str(ran)!r}).write_text('ran')"


class _Hostile:
    def __init__(self, ran: Path) -> None:
        self._ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (code(self._ran),)


def write_pickle(file: Path, ran: Path) -> None:
    """A pickle that writes the file `ran` where it is loaded."""
    file.write_bytes(pickle.dumps(_Hostile(ran)))


def short(value: Any) -> str:
    """A value as part of a case's name."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:20]}… of {len(text)}"
