"""A folder -> a model and its tokenizer: exactly what the folder's files say, or one line that says why not.

No code and no pickle of a model is ever run: `trust_remote_code` is off, and only safetensors is read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spillover.errors import ModelError
from spillover.llm.adapters import attach
from spillover.llm.quiet import Quiet
from spillover.llm.sources import DEFAULT_MODEL, SHORT_NAMES, cache_folder, locate
from spillover.llm.weights import (
    first_line,
    has_tokenizer,
    identity,
    is_adapter,
    open_tensors,
    put_in_place,
    refuse_misfit,
    weight_files,
)

__all__ = [
    "DEFAULT_MODEL",
    "SHORT_NAMES",
    "Quiet",
    "blank",
    "cache_folder",
    "identity",
    "is_adapter",
    "load",
    "locate",
    "save",
]

_DTYPES = ("float32", "bfloat16")


def load(
    folder: Path,
    *,
    tuned: Path | None = None,
    dtype: str = "float32",
    log: Callable[[str], None] = lambda line: None,
) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder, in evaluation mode, on the GPU if there is one.

    With `tuned`, the tuned model whose base is in `folder`: a whole model, or a PEFT (LoRA) adapter, which is
    put on the base and not merged into it. Its own tokenizer is used where it has one, else the base's. What
    is doubtful but no fault, such as an adapter that names another base, is told to `log`.

    Weights are float32 wherever they are, unless `dtype` is `bfloat16`: float32 takes 4 bytes a parameter to
    score, and 16 to tune in full (weights, gradients and Adam's two moments).

    Raises ModelError for pickled weights, code that would have to be trusted, and files that are broken, do
    not fit each other or leave anything to chance.
    """
    import torch

    if dtype not in _DTYPES:
        raise ModelError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    base, tuned = Path(folder), Path(tuned or folder)
    if is_adapter(base):
        raise ModelError(
            f"{base} holds a LoRA adapter, not a whole model; pass it as --tuned beside its --model"
        )
    whole = base if is_adapter(tuned) else tuned
    model = _load_model(whole, getattr(torch, dtype))
    home = tuned if has_tokenizer(tuned) else base
    tokenizer = load_tokenizer(home, model.config)
    if whole != tuned:
        model = attach(model, tuned, log=log)
    rows = model.get_input_embeddings().weight.shape[0]
    # A model's own tokenizer may have more tokens than weights (Gemma 3's has): they are never written.
    if home != whole and len(tokenizer) > rows and len(tokenizer) > _count_tokens(whole, model.config):
        raise ModelError(
            f"the tokenizer of {home} has {len(tokenizer)} tokens, and {tuned} has weights for {rows}; "
            "save the tuned model with its tokenizer and its resized embeddings"
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a tuned model (after LoRA: its adapter) and its tokenizer, put in place by an atomic rename."""
    pad = tokenizer.pad_token
    with put_in_place(folder) as scratch, Quiet():
        model.save_pretrained(scratch)
        # A pad token that `load` borrowed is not saved: read again it would be cut out of every text.
        tokenizer.pad_token = tokenizer.init_kwargs.get("pad_token")
        tokenizer.save_pretrained(scratch)
        tokenizer.pad_token = pad


def blank(folder: Path) -> Any:
    """The model that a folder's configuration makes, without weights (on torch's meta device).

    Raises ModelError if the configuration is broken, or names code that would have to be trusted.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with Quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever the readers of a broken or foreign configuration come to
        raise ModelError(f"model folder {folder} cannot be loaded: {first_line(error)}") from error


def _load_model(folder: Path, dtype: Any) -> Any:
    from transformers import GenerationConfig

    tensors = open_tensors(weight_files(folder))
    empty = blank(folder)
    try:
        with Quiet():
            generation = (folder / "generation_config.json").is_file()  # not used here, but saved again
            # Given the tensors and no folder, transformers cannot go and find other weights in it.
            model, loading = type(empty).from_pretrained(
                None,
                config=empty.config,
                state_dict=tensors,
                generation_config=GenerationConfig.from_pretrained(folder) if generation else None,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they are in `loading`, and refused below
            )
    except Exception as error:  # whatever tensors of a foreign kind come to
        raise ModelError(f"model folder {folder} cannot be loaded: {first_line(error)}") from error
    refuse_misfit(model, loading, folder)
    model.name_or_path = model.config.name_or_path = str(folder)
    return model


def load_tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer of a folder, for a model of this configuration; raises ModelError as `load` does."""
    from transformers import AutoTokenizer

    if not has_tokenizer(folder):
        raise ModelError(f"model folder {folder} has no tokenizer; copy its model's tokenizer.json into it")
    try:
        with Quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, config=config, trust_remote_code=False, padding_side="left"
            )
            if tokenizer.pad_token_id is None:  # padding is masked, so any token will do
                tokenizer.pad_token = (
                    tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
                )
    except Exception as error:  # as above
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {first_line(error)}") from error
    return tokenizer


def _count_tokens(folder: Path, config: Any) -> int:
    return len(load_tokenizer(folder, config)) if has_tokenizer(folder) else 0
