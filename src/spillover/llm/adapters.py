"""PEFT adapters (LoRA and its kin): put on a base model, unmerged, with every weight in its place."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from spillover.errors import ModelError
from spillover.knowledge.faults import show
from spillover.llm.border import border
from spillover.llm.names import SHORT_NAMES
from spillover.llm.weights import adapter_files, open_tensors, refuse_odd_numbers

_KINDS: dict[str, Any] = {"bool": bool, "int": int, "float": (int, float)}
_PATTERNS = ("target_modules", "exclude_modules", "layers_pattern", "rank_pattern", "alpha_pattern")
"""Settings of an adapter that PEFT matches with the names of all modules."""
_ENDLESS = re.compile(r"[*+}][?+]?\)+[*+{]")
_NEUTRAL_STARTS = ("gaussian", "eva", "orthogonal")


def attach(base: Any, folder: Path, *, log: Callable[[str], None]) -> Any:
    """The PeftModel of a base model and the adapter in a folder; the base itself is changed.

    The base gets the adapter's vocabulary where that was resized. An adapter that names another base than
    this one is told to `log`. Raises ModelError if a weight of the adapter is missing, has no place or does
    not fit, or if it is of a kind that is not a change of the weights.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    _, weights = adapter_files(folder)
    opened = open_tensors([weights])
    refuse_odd_numbers(opened, folder)
    with border(f"adapter {folder} cannot be read"):
        tensors = {name: tensor[...] for name, tensor in opened.items()}
        config = PeftConfig.from_pretrained(str(folder))
    _refuse_odd_settings(config, folder)
    named, own = str(config.base_model_name_or_path or ""), base.name_or_path
    start = getattr(config, "init_lora_weights", None)
    if isinstance(start, str) and start not in _NEUTRAL_STARTS:
        log(f"adapter {folder} says that it started from {start}, so the weights of {own} are changed by it")
    if named and _bare_name(named) != _bare_name(own):
        log(f"adapter {folder} was tuned from {named} and is put on {own}; the weights must be the same")
    config.inference_mode = True
    with border(
        f"adapter {folder} does not fit {own}", f"it was tuned from {named or 'a base that it does not name'}"
    ):
        _resize_vocabulary(base, folder, tensors, getattr(config, "modules_to_save", None) or ())
        model = get_peft_model(base, config)
        _refuse_strays(model, folder, tensors)
        set_peft_model_state_dict(model, tensors)
    return model


def _refuse_odd_settings(config: Any, folder: Path) -> None:
    """Raise ModelError for an adapter that is no change of the weights, or whose settings make no sense."""
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise ModelError(
            f"adapter {folder} changes the prompt and not the weights; only LoRA and its kin can be scored"
        )
    if getattr(config, "alora_invocation_tokens", None):
        raise ModelError(f"adapter {folder} acts only behind certain tokens (aLoRA); only LoRA can be scored")
    if getattr(config, "megatron_config", None):  # PEFT would import the module that `megatron_core` names
        raise ModelError(f"adapter {folder} is for Megatron; save it from a transformers model")
    for field in fields(config):
        value = getattr(config, field.name)
        kind = _KINDS.get(getattr(field.type, "__name__", str(field.type)))
        if kind and not (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            raise ModelError(
                f"adapter {folder} cannot be read: {field.name} in its adapter_config.json is {show(value)}, "
                f"it must be of type {field.type}; save it again"
            )
    for name, value in vars(config).items():
        for pattern in [value] if isinstance(value, str) else value if isinstance(value, dict) else ():
            if name in _PATTERNS and _ENDLESS.search(str(pattern)):
                raise ModelError(
                    f"adapter {folder} cannot be read: {name} is {show(pattern)}, a repetition in "
                    "a repetition, which may take for ever; name the modules one by one"
                )


def _refuse_strays(model: Any, folder: Path, tensors: Mapping[str, Any]) -> None:
    """Raise ModelError unless the adapter's weights are those that its configuration promises."""
    from peft import get_peft_model_state_dict

    expected = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    # Resized embeddings are saved whole, each under its name in the model less the adapter's name.
    known = expected | {re.sub(r"\.default(?=\.|$)", "", name) for name in model.state_dict()}
    for names, fault in (
        (sorted(expected - tensors.keys()), "lacks {} of the weights that its adapter_config.json promises"),
        (sorted(tensors.keys() - known), "has {} weights that have no place in the model"),
    ):
        if names:
            raise ModelError(f"adapter {folder} {fault.format(len(names))} (first {names[0]}); save it again")


def _resize_vocabulary(base: Any, folder: Path, tensors: Mapping[str, Any], copied: Sequence[str]) -> None:
    """Give the base as many tokens as the adapter's embeddings and output head have.

    Rows that the base has not must come with the adapter, or they would be random: for the embeddings and for
    the head, of which either serves both where they are tied and not `copied` (PEFT's `modules_to_save`).
    """
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    rows, whole = set(), set()
    names = [name for end in ends for name, module in base.named_modules() if module is end]
    for name in names:
        for key, tensor in tensors.items():
            if not key.startswith(f"base_model.model.{name}."):
                continue
            if "lora_embedding_A" in key:
                rows.add(tensor.shape[1])
            elif ".lora_" not in key and key.endswith(".weight"):
                rows.add(tensor.shape[0])
                whole.add(name)
            elif name == names[-1] and ".lora_B" in key:
                rows.add(tensor.shape[0])
    had = ends[0].weight.shape[0]
    if not rows or rows == {had}:
        return
    tied = ends[0].weight is ends[1].weight
    if tied and any(name.rpartition(".")[2] not in copied for name in whole):
        whole = set(names)
    if len(rows) > 1 or (max(rows) > had and whole < set(names)):
        raise ModelError(
            f"adapter {folder} was tuned with {' and '.join(map(str, sorted(rows)))} tokens, "
            f"{base.name_or_path} has {had}, and the adapter does not hold the weights of the others; "
            "save it with save_embedding_layers=True"
        )
    base.resize_token_embeddings(max(rows), mean_resizing=False)


def _bare_name(name: str) -> str:
    """What of a model's name stays the same wherever it lies: of a path, a hub id or a short name."""
    parts = re.split(r"[\\/]", name.rstrip("\\/"))
    cached = [part for part in parts if part.startswith("models--")]  # a snapshot in the hub's cache
    last = cached[-1].rpartition("--")[2] if cached else parts[-1]
    return SHORT_NAMES.get(last, last).rpartition("/")[2].lower()
