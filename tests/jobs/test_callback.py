"""A knowledge base in trainers of transformers and TRL: what is logged is what the model says; the tune notices
nothing."""

import json
import logging
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

import spillover
from spillover.errors import DataError, ModelError, TrainingError
from spillover.jobs.callback import SpilloverCallback, _names
from spillover.jobs.score import score, write_split
from spillover.knowledge.schema import Rule
from tests.jobs.people import PEOPLE
from tests.tiny_models import save_tiny_chat_tokenizer, save_tiny_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.usefixtures("here"),
]

CHAT = PEOPLE.replace('lives in"}', 'lives in", format: chat}').replace('codes in"}', 'codes in", format: chat}')
RULE = "spillover/lives_in_to_codes_in"
LORA = LoraConfig(r=4, lora_dropout=0.3, target_modules=["q_proj", "v_proj", "down_proj"])


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with dropout and a chat template."""
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", "llama", attention_dropout=0.3, initializer_range=0.3)
    save_tiny_chat_tokenizer(folder)
    return str(folder)


def rows_of(kb: str) -> Dataset:
    write_split(kb, "rows.jsonl")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    return Dataset.from_list([{k: v for k, v in row.items() if k in _TRAINED} for row in rows])


_TRAINED = ("prompt", "completion", "messages")


def sft(folder: Any, kb: str, out: str, *callbacks: TrainerCallback, lora: bool = False, **settings: Any) -> Any:
    """TRL's trainer as it is by default, but for the precision and the progress bar."""
    options: dict[str, Any] = {
        "max_steps": 5,
        "learning_rate": 1e-2,
        "logging_steps": 2,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return SFTTrainer(
        model=folder,
        args=SFTConfig(output_dir=out, **options | settings),
        train_dataset=rows_of(kb),
        processing_class=AutoTokenizer.from_pretrained(folder) if isinstance(folder, str) else None,
        callbacks=list(callbacks),
        peft_config=LORA if lora else None,
    )


class Drawing(SpilloverCallback):
    """Whose asking draws random numbers."""

    def _measure(self, model: Any) -> dict[str, Any]:
        measured = super()._measure(model)
        return measured


def numbers(document: dict[str, Any]) -> dict[str, float]:
    """Those of a score's document by the names that they are logged under."""
    (rule,) = document["rules"]
    top1, rank = rule["top1"], rule["mean_rank"]
    return {
        "spillover/facts/top1": document["facts"]["top1"],
        f"{RULE}/top1": top1["after"],
        f"{RULE}/top1_low": top1["low"],
        f"{RULE}/top1_high": top1["high"],
        f"{RULE}/top1_chance": top1["null"],
        f"{RULE}/mean_rank": rank["after"],
        f"{RULE}/mean_rank_chance": rank["null"],
        f"{RULE}/p_value": rule["p_value"],
        f"{RULE}/bridges_top1": rule["bridges"]["top1"],
    }


def losses(trainer: Any) -> list[dict[str, Any]]:
    """The trainer's own rows, less what depends on the clock."""
    clock = ("runtime", "per_second")
    return [
        {name: value for name, value in row.items() if not name.endswith(clock)}
        for row in trainer.state.log_history
        if "spillover/facts/top1" not in row
    ]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("format", ["plain", "chat"])
def test_what_is_logged_is_what_the_model_says_and_the_tune_is_the_same_without(
    lora: bool, format: str, here: Path, model_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format == "chat":
        (here / "people.yaml").write_text(CHAT, encoding="utf-8")
    alone = sft(model_folder, "people.yaml", "alone", lora=lora)
    alone.train()

    def asked_and_drawn(*given: Any, **options: Any) -> Any:
        random.random(), np.random.random(), torch.rand(3)  # noqa: S311
        return answers(*given, **options)

    from spillover.jobs.callback import answers

    monkeypatch.setattr("spillover.jobs.callback.answers", asked_and_drawn)
    callback = spillover.SpilloverCallback("people.yaml", every=2)
    asked = sft(model_folder, "people.yaml", "asked", callback, lora=lora)
    asked.train()

    assert asked.args.activation_checkpointing
    mine, its = asked.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in its)
    assert losses(asked) == losses(alone)
    assert [row["step"] for row in callback.history] == [0, 2, 4, 5]
    assert callback.history == [row for row in asked.state.log_history if "spillover/facts/top1" in row]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    asked.save_model("tuned")
    before = score("people.yaml", model=model_folder, tuned=model_folder)
    after = score("people.yaml", model=model_folder, tuned="tuned")
    about = {"step", "epoch"}
    for row, document in ((callback.history[0], before), (callback.history[-1], after)):
        assert row.keys() - about == numbers(document).keys()
        assert {name: row[name] for name in row.keys() - about} == pytest.approx(numbers(document), nan_ok=True)
    assert numbers(before) != numbers(after)
