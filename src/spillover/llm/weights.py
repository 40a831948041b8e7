"""The files of a model folder: which of them are the model, whether they are whole, and their identity."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from spillover.errors import ModelError
from spillover.knowledge.faults import show
from spillover.llm.border import border
from spillover.runs.files import cannot_write, hash_file

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_ADAPTER_CONFIG, _ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_VOCABULARIES = ("tokenizer.json", "tekken.json", "vocab.*", "*.model", "*.model.v*", "*.tiktoken")
_TOKENIZER = (
    *_VOCABULARIES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.*",
)
_READ = ("*.json", "*.jinja", "*.safetensors", *_TOKENIZER)
"""What a library may read of a folder, whether we know of it or not."""


def refuse_odd_files(folder: Path) -> None:
    """Raise ModelError if a file that may be read of a folder is none: a folder, a pipe, a link to nothing.

    A pipe or a device would keep its reader waiting.
    """
    try:
        files = sorted({file for pattern in _READ for file in Path(folder).glob(pattern)} | _links(folder))
    except OSError as error:
        raise ModelError(f"folder {folder} cannot be read: {error.strerror}") from error
    for file in files:
        try:
            why = None if stat.S_ISREG(file.stat().st_mode) else "it is no plain file"
            why = why or (None if os.access(file, os.R_OK) else "it is not yours to read")
        except OSError as error:
            why = error.strerror
        if why:
            raise ModelError(f"{file} cannot be read: {why}; fetch the model or adapter again")


def _links(folder: Path) -> set[Path]:
    """The links of a folder that lead to nothing, which `glob` may pass over."""
    return {
        file
        for file in Path(folder).iterdir()
        if file.is_symlink() and any(file.match(pattern) for pattern in _READ)
    }


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a PEFT adapter; one beside a whole model's weights is only left over.

    Raises ModelError if it holds the weights of both, since nothing says which are meant.
    """
    folder = Path(folder)
    if not (folder / _ADAPTER_CONFIG).is_file():
        return False
    whole = any((folder / name).is_file() for name in (_WHOLE, _INDEX))
    if whole and (folder / _ADAPTER).is_file():
        raise ModelError(
            f"{folder} holds the weights of a whole model and of an adapter; "
            f"move {_ADAPTER} and {_ADAPTER_CONFIG} into a folder of their own"
        )
    return not whole


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder has a vocabulary, without which no tokenizer can be made."""
    return any(any(Path(folder).glob(pattern)) for pattern in _VOCABULARIES)


def adapter_files(folder: Path) -> tuple[Path, Path]:
    """The configuration and the weights of a PEFT adapter. Raises ModelError if they are not safetensors."""
    config, weights = Path(folder) / _ADAPTER_CONFIG, Path(folder) / _ADAPTER
    if not weights.is_file():
        raise ModelError(f"adapter {folder} has no {_ADAPTER}; pickled adapters are refused")
    return config, weights


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a model's weights: `model.safetensors`, else those of the index.

    Raises ModelError if there are none, or if the index names one that is not there, no safetensors file or
    in another folder.
    """
    folder = Path(folder)
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    if not (folder / _INDEX).is_file():
        raise _no_weights(folder)
    try:
        names = sorted(set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ModelError(f"{folder / _INDEX} is no index of weights ({error}); fetch it again") from error
    for name, file in zip(names, files, strict=True):
        if not re.fullmatch(r"[\w.-]{1,200}\.safetensors", name):
            shown = name if len(name) < 80 else show(name)
            raise ModelError(
                f"{folder / _INDEX} names {shown}, which is no .safetensors file of this folder, "
                "and only those are loaded; save the model again with save_pretrained"
            )
        if not file.is_file():
            raise ModelError(f"model folder {folder} lacks {name}, which its index names; fetch it again")
    return files


def loaded_files(folder: Path) -> list[Path]:
    """All files that decide what a folder's model answers: configuration, weights and tokenizer.

    How text would be generated is not among them, since none is. Raises ModelError as the readers of each do.
    """
    folder = Path(folder)
    refuse_odd_files(folder)
    if is_adapter(folder):
        model = list(adapter_files(folder))
    else:
        model = [folder / "config.json", *weight_files(folder)]
        if not model[0].is_file():
            raise ModelError(f"model folder {folder} has no config.json; is it a saved transformers model?")
    return model + sorted({file for pattern in _TOKENIZER for file in folder.glob(pattern)})


def identity(folder: Path) -> str:
    """One SHA-256 (hex) over the names and bytes of all that is loaded from a folder; see `loaded_files`."""
    total = hashlib.sha256()
    for file in loaded_files(folder):
        total.update(f"{file.name} {hash_file(file)}\n".encode())
    return total.hexdigest()


def open_tensors(files: Iterable[Path]) -> dict[str, Any]:
    """Name -> tensor of safetensors files, each read only when it is indexed (`[...]`).

    Raises ModelError for a file that is cut short or no safetensors file.
    """
    from safetensors import safe_open

    tensors: dict[str, Any] = {}
    for file in files:
        with border(f"{file} is no whole safetensors file that can be read", "fetch or save it again"):
            opened = safe_open(file, framework="pt")
            tensors |= {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    return tensors


def refuse_odd_numbers(tensors: Mapping[str, Any], source: Path) -> None:
    """Raise ModelError for weights, as `open_tensors` gives them, that are not floating-point numbers."""
    for name, tensor in tensors.items():
        kind = tensor.get_dtype()
        if name.endswith(("weight", "bias")) and not kind.startswith(("F", "BF")):
            raise ModelError(
                f"{source}: {name} is of {kind}, and weights must be floating-point numbers; "
                "save the model again in float32"
            )


def refuse_misfit(model: Any, loading: Mapping[str, Any], source: Path) -> None:
    """Raise ModelError unless the weights of `source` and the model that its configuration makes fit exactly.

    `loading` is transformers' `output_loading_info`. Tied weights need be there once only. Parts that the
    architecture does not have at all (a value head, say) are passed over; a weight inside its parts is not.
    """
    parts = {name for part in (model, model.base_model) for name, _ in part.named_children()}
    missing = sorted(loading["missing_keys"])
    surplus = sorted(name for name in loading["unexpected_keys"] if name.split(".")[0] in parts)
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} of the model's weights (first {missing[0]}), which would be "
            "filled at random; fetch or save it again"
        )
    if surplus:
        raise ModelError(
            f"{source} has {len(surplus)} weights that its configuration has no place for "
            f"(first {surplus[0]}); use the config.json that it was saved with"
        )
    for name, found, expected in sorted(loading["mismatched_keys"]):
        raise ModelError(
            f"{source}: {name} has shape {list(found)} where its configuration says {list(expected)}; "
            "use the config.json that it was saved with"
        )


@contextmanager
def put_in_place(folder: Path, elsewhere: str = "use another --out") -> Iterator[Path]:
    """A scratch folder that takes its place at `folder` when the block ends, and is gone if it fails.

    What cannot be written is a RunError, which says what else would do.
    """
    with saving(folder, elsewhere):
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield scratch
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def saving(folder: Path, elsewhere: str = "use another --out") -> Iterator[None]:
    """A block in which libraries write to the folder: what they fail with on a full disk is a RunError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise cannot_write(folder, error, elsewhere) from error
    except Exception as error:
        if type(error) is Exception:  # so tokenizers tells of a disk
            raise cannot_write(folder, error, elsewhere) from error
        if "inline_container" in str(error):  # so torch does, and never says why
            unwritten = OSError(errno.EIO, "torch could not write all of it")
            raise cannot_write(folder, unwritten, elsewhere) from error
        raise


def _no_weights(folder: Path) -> ModelError:
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    if pickled:
        return ModelError(
            f"model folder {folder} has only pickled weights ({pickled[0]}), which can run code when loaded; "
            "save it again with save_pretrained(..., safe_serialization=True)"
        )
    return ModelError(f"model folder {folder} has no .safetensors weights; is it a saved transformers model?")
