"""A folder -> a model and its tokenizer: exactly what the folder's files say, or one line that says why not.

No code and no pickle of a model is ever run: `trust_remote_code` is off, and only safetensors is read.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spillover.errors import ModelError
from spillover.llm.adapters import attach
from spillover.llm.border import border, run
from spillover.llm.configuration import blank, entries
from spillover.llm.names import DEFAULT_MODEL, SHORT_NAMES
from spillover.llm.quiet import Quiet
from spillover.llm.sources import locate
from spillover.llm.weights import (
    has_tokenizer,
    identity,
    is_adapter,
    open_tensors,
    put_in_place,
    refuse_misfit,
    refuse_odd_files,
    refuse_odd_numbers,
    weight_files,
)

__all__ = [
    "DEFAULT_MODEL",
    "SHORT_NAMES",
    "Quiet",
    "blank",
    "identity",
    "is_adapter",
    "load",
    "locate",
    "save",
]

_DTYPES = ("float32", "bfloat16")

_MOST_GROWTH = 1000
_LEAST_SHARE = 0.9  # of a model's embeddings are some token's; some models have rows to spare


def load(
    folder: Path,
    *,
    tuned: Path | None = None,
    dtype: str = "float32",
    on_gpu: bool = True,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder, in evaluation mode, on the GPU if there is one and `on_gpu`.

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
    for each in (base, tuned):
        refuse_odd_files(each)
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
    words = tokenizer.get_vocab()
    if len(tokenizer) < _LEAST_SHARE * rows:
        log(f"the tokenizer of {home} has {len(tokenizer)} tokens, and {tuned} has weights for {rows}")
    if len(words) > len(set(words.values())):
        log(f"the tokenizer of {home} has the same token for several words, so it may be broken")
    if tokenizer.pad_token_id >= rows:
        _borrow_pad(tokenizer)
    with border(f"model {tuned} cannot be put on the GPU"):
        model = model.to("cuda" if on_gpu and torch.cuda.is_available() else "cpu").eval()
    _try_out(model, tuned)
    return model, tokenizer


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a tuned model (after LoRA: its adapter) and its tokenizer, put in place by an atomic rename."""
    pad = tokenizer.pad_token
    with put_in_place(folder) as scratch, Quiet():
        model.save_pretrained(scratch)
        # A pad token that `load` borrowed is not saved: read again it would be cut out of every text.
        tokenizer.pad_token = tokenizer.init_kwargs.get("pad_token")
        tokenizer.save_pretrained(scratch)
        tokenizer.pad_token = pad


def _load_model(folder: Path, dtype: Any) -> Any:
    import torch
    from transformers import GenerationConfig

    tensors = open_tensors(weight_files(folder))
    empty = blank(folder)
    plain = getattr(empty.config, "quantization_config", None) is None
    fault = f"model folder {folder} cannot be loaded"

    def fill(tensors: dict[str, Any], **settings: Any) -> tuple[Any, Any]:
        # Given the tensors and no folder, transformers cannot go and find other weights in it.
        return type(empty).from_pretrained(
            None,
            config=empty.config,
            state_dict=tensors,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are in `loading`, and refused below
            **settings,
        )

    if plain:  # first the shapes alone, since what is missing would be made, however large it is said to be
        refuse_odd_numbers(tensors, folder)
        with border(fault):
            shapes = {name: torch.empty(t.get_shape(), device="meta") for name, t in tensors.items()}
            model, loading = fill(shapes, device_map="meta")
        refuse_misfit(model, loading, folder)
    with border(fault):
        generation = (folder / "generation_config.json").is_file()  # not used here, but saved again
        model, loading = fill(
            tensors, generation_config=GenerationConfig.from_pretrained(folder) if generation else None
        )
    refuse_misfit(model, loading, folder)
    model.name_or_path = model.config.name_or_path = str(folder)
    return model


def _try_out(model: Any, folder: Path) -> None:
    """Raise ModelError unless the model runs, gives numbers, and does not look ahead.

    An encoder (BERT) can be loaded as a language model, but its answer for a token depends on the next one.
    """
    import torch

    with torch.inference_mode():
        ids = torch.tensor([[1, 2], [1, 3]], device=model.device).clamp(
            max=model.get_input_embeddings().weight.shape[0] - 1
        )
        logits = run(model, input_ids=ids, use_cache=True).logits.float()
    if not logits.isfinite().any() or logits.isnan().any():
        raise ModelError(
            f"model {folder} gives no numbers (NaN or infinite); its weights or its config are broken"
        )
    if logits.min() == logits.max():
        raise ModelError(f"model {folder} gives every token the same logit; its weights or config are broken")
    noise = 300 * torch.finfo(model.dtype).eps * logits.abs().max()
    if (logits[0, 0] - logits[1, 0]).abs().max() > noise:
        raise ModelError(
            f"model {folder} looks ahead, so it is no causal language model (config.json says "
            f"{model.config.model_type}); give one that is"
        )


def load_tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer of a folder, for a model of this configuration; raises ModelError as `load` does."""
    from transformers import AutoTokenizer

    if not has_tokenizer(folder):
        raise ModelError(f"model folder {folder} has no tokenizer; copy its model's tokenizer.json into it")
    with border(f"the tokenizer in {folder} cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=config, trust_remote_code=False, padding_side="left"
        )
        if tokenizer.pad_token_id is None:
            _borrow_pad(tokenizer)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"the tokenizer in {folder} has no token; copy its model's tokenizer.json into it")
    _refuse_growth(tokenizer, folder)
    return tokenizer


def _refuse_growth(tokenizer: Any, folder: Path) -> None:
    """Raise ModelError for a tokenizer that replaces a character by so many that a text fills the memory."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.normalizer is None:
        return
    steps = entries(json.loads(backend.normalizer.__getstate__()))
    growth = math.prod(max(1, len(value)) for key, value in steps if key == "content")
    if growth > _MOST_GROWTH:
        raise ModelError(
            f"the tokenizer in {folder} makes {growth} characters of one, at most {_MOST_GROWTH} can be; "
            "copy its model's tokenizer.json into it"
        )


def _borrow_pad(tokenizer: Any) -> None:
    """Padding is masked, so any token will do that has a weight."""
    tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)


def _count_tokens(folder: Path, config: Any) -> int:
    return len(load_tokenizer(folder, config)) if has_tokenizer(folder) else 0
