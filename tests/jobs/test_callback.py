"""A knowledge base in trainers of transformers and TRL: what is logged is what the model says."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from tokenizers.normalizers import Lowercase
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

import spillover
from spillover.cells.compute import answers
from spillover.errors import DataError, ModelError, TrainingError
from spillover.jobs.callback import SpilloverCallback, _names
from spillover.jobs.export import export
from spillover.jobs.score import score
from spillover.knowledge.schema import Rule
from spillover.llm import models
from tests.jobs.people import PEOPLE
from tests.tiny_models import save_tiny_chat_tokenizer, save_tiny_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.usefixtures("here"),
]

CHAT = PEOPLE.replace('lives in"}', 'lives in", format: chat}').replace(
    'codes in"}', 'codes in", format: chat}'
)
FACTS, RULE = "spillover/facts/top1", "spillover/lives_in_to_codes_in"
LORA = LoraConfig(r=4, lora_dropout=0.3, target_modules=["q_proj", "v_proj", "down_proj"])


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with dropout and a chat template."""
    folder = save_tiny_model(
        tmp_path_factory.mktemp("model") / "tiny", "llama", attention_dropout=0.3, initializer_range=0.3
    )
    save_tiny_chat_tokenizer(folder)
    return str(folder)


def rows_of(kb: str) -> Dataset:
    """What is trained, as the guide has people write it."""
    export(kb, "rows.jsonl", to="jsonl")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    return Dataset.from_list(rows).remove_columns(["subject", "relation", "answer"])


def sft(
    folder: Any, kb: str, out: str, *callbacks: TrainerCallback, lora: bool = False, **settings: Any
) -> Any:
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


def numbers(document: dict[str, Any]) -> dict[str, float]:
    """Those of a score's document by the names that they are logged under."""
    (rule,) = document["rules"]
    top1, rank = rule["top1"], rule["mean_rank"]
    return {
        FACTS: document["facts"]["top1"],
        f"{RULE}/top1": top1["after"],
        f"{RULE}/top1_low": top1["low"],
        f"{RULE}/top1_high": top1["high"],
        f"{RULE}/top1_chance": top1["null"],
        f"{RULE}/mean_rank": rank["after"],
        f"{RULE}/mean_rank_chance": rank["null"],
        f"{RULE}/p_value": rule["p_value"],
        f"{RULE}/bridges_top1": rule["bridges"]["top1"],
    }


def trainers_own(trainer: Any) -> list[dict[str, Any]]:
    """The rows of its log that are not the callback's, less what depends on the clock."""
    clock = ("runtime", "per_second")
    return [
        {name: value for name, value in row.items() if not name.endswith(clock)}
        for row in trainer.state.log_history
        if FACTS not in row
    ]


def draw() -> None:
    """Go on in all random states."""
    random.random()  # noqa: S311
    np.random.random()
    torch.rand(3)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("format", ["plain", "chat"])
def test_what_is_logged_is_what_the_model_says_and_the_tune_is_the_same_without(
    lora: bool, format: str, here: Path, model_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TRL's recomputing of activations, in chat with its autocast; whatever an asking draws."""
    if format == "chat":
        (here / "people.yaml").write_text(CHAT, encoding="utf-8")
    alone = sft(model_folder, "people.yaml", "alone", lora=lora, bf16=format == "chat")
    alone.train()
    askings = []

    def ask(model: Any, tokenizer: Any, questions: Any) -> Any:
        draw()
        askings.append((questions, answers(model, tokenizer, questions)))
        return askings[-1][1]

    with monkeypatch.context() as patch:
        patch.setattr("spillover.jobs.callback.answers", ask)
        callback = spillover.SpilloverCallback("people.yaml", every=2)
        asked = sft(model_folder, "people.yaml", "asked", callback, lora=lora, bf16=format == "chat")
        asked.train()

    assert asked.args.activation_checkpointing
    mine, its = asked.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in its)
    assert trainers_own(asked) == trainers_own(alone)
    assert [row["step"] for row in callback.history] == [0, 2, 4, 5]
    assert callback.history == [row for row in asked.state.log_history if FACTS in row]

    asked.save_model("tuned")
    questions, last = askings[-1]
    loaded = answers(*models.load(Path(model_folder), tuned=Path("tuned")), questions)
    np.testing.assert_allclose(last["logprob"], loaded["logprob"], atol=1e-4)
    before = numbers(score("people.yaml", model=model_folder, tuned=model_folder))
    after = numbers(score("people.yaml", model=model_folder, tuned="tuned"))
    assert before != after
    for row, expected in ((callback.history[0], before), (callback.history[-1], after)):
        assert {name: row[name] for name in row if name not in ("step", "epoch")} == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning")
def test_the_guides_example_runs(here: Path, model_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "trainer.md"
    (example,) = [
        block.partition("```")[0]
        for block in guide.read_text("utf-8").split("```python\n")[1:]
        if "SpilloverCallback" in block.partition("```")[0]
    ]
    (here / "my-model").symlink_to(model_folder)
    export("people.yaml", "train.jsonl", to="jsonl")
    exec(example, {})  # noqa: S102 - of our own guide
    printed = capsys.readouterr().out.splitlines()
    steps = [line.split()[0] for line in printed if line[:1].isdigit()]
    assert steps == ["0", "20", "24"]


class Reporter(TrainerCallback):
    """What `report_to` puts before the callbacks of the user, and closes when the training ends."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.open = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        assert self.open
        self.rows.append((state.global_step, dict(logs)))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.open = False


class StopAt(TrainerCallback):
    """Ends a training early, as others do."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize("added_later", [False, True])
def test_reporters_get_the_numbers_the_last_ones_before_they_close(
    added_later: bool, model_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, callback = Reporter(), SpilloverCallback("people.yaml", every=2)
    monkeypatch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda to: [reporter])
    callbacks: list[TrainerCallback] = [StopAt(3), *([] if added_later else [callback])]
    trainer = sft(model_folder, "people.yaml", "out", *callbacks)
    if added_later:
        trainer.add_callback(callback)
    trainer.train()
    its = [(step, row) for step, row in reporter.rows if FACTS in row]
    assert [step for step, _ in its] == [0, 2, 3]
    assert [row | {"step": step} for step, row in its] == callback.history
    assert all(type(value) is float for _, row in its for value in row.values())
    assert [step for step, row in reporter.rows if "loss" in row] == [2], "as the trainer logs by itself"


def test_a_condition_stops_the_training(model_folder: str, caplog: pytest.LogCaptureFixture) -> None:
    callback = SpilloverCallback(
        "people.yaml", every=1, stop_at=["facts.top1 < 0", "spurious.mean_rank >= 0"]
    )
    trainer = sft(model_folder, "people.yaml", "out", callback)
    trainer.train()
    assert trainer.state.global_step == 1, "not before the first step, though it held"
    rank = callback.history[-1][f"{RULE}/mean_rank"]
    assert callback.stopped == f"lives_in -> codes_in.mean_rank is {rank:.3g} (spurious.mean_rank >= 0)"
    assert f"spillover: the training stops at step 1: {callback.stopped}" in caplog.messages
    assert [row["step"] for row in callback.history] == [0, 1]


def test_a_training_goes_on_where_no_condition_holds(model_folder: str) -> None:
    callback = SpilloverCallback("people.yaml", every=3, stop_at="facts.top1 < 0")
    trainer = sft(model_folder, "people.yaml", "out", callback)
    trainer.train()
    assert (trainer.state.global_step, callback.stopped) == (5, None)


def test_a_resumed_training_has_the_numbers_from_before(model_folder: str) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    whole = SpilloverCallback("people.yaml", every=2)
    sft(model_folder, "people.yaml", "out", whole, **options).train()
    again = SpilloverCallback("people.yaml", every=2)
    trainer = sft(model_folder, "people.yaml", "out", again, **options)
    trainer.train(resume_from_checkpoint="out/checkpoint-2")
    assert [row["step"] for row in again.history] == [0, 2, 4, 5]
    assert again.history == whole.history


def test_a_training_that_is_resumed_between_two_askings_is_asked_no_more_often(model_folder: str) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3}
    sft(model_folder, "people.yaml", "out", SpilloverCallback("people.yaml", every=2), **options).train()
    again = SpilloverCallback("people.yaml", every=2)
    trainer = sft(model_folder, "people.yaml", "out", again, **options)
    trainer.train(resume_from_checkpoint="out/checkpoint-3")
    assert [row["step"] for row in again.history] == [0, 2, 4, 5]


def plain_trainer(folder: str, callback: TrainerCallback) -> Trainer:
    """One of transformers' own, which knows no tokenizer, with texts as tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [row["prompt"] + row["completion"] for row in rows_of("people.yaml").to_list()]
    rows = [tokenizer(text)["input_ids"][:8] for text in texts]
    settings = {"max_steps": 3, "per_device_train_batch_size": 1, "report_to": "none", "use_cpu": True}
    return Trainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=TrainingArguments(output_dir="out", disable_tqdm=True, save_strategy="no", **settings),
        train_dataset=Dataset.from_list([{"input_ids": ids, "labels": ids} for ids in rows]),
        callbacks=[callback],
    )


def test_a_trainer_without_a_tokenizer_is_given_one(model_folder: str) -> None:
    with pytest.raises(
        TrainingError, match="no processing_class to ask with; give SpilloverCallback a token"
    ):
        plain_trainer(model_folder, SpilloverCallback("people.yaml", every=2)).train()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.pad_token = None
    for given in (tokenizer, SimpleNamespace(tokenizer=tokenizer)):  # and a processor's
        callback = SpilloverCallback("people.yaml", every=2, tokenizer=given)
        plain_trainer(model_folder, callback).train()
        assert [row["step"] for row in callback.history] == [0, 2, 3]
        assert tokenizer.pad_token is None


def test_a_processors_chat_template_is_the_trainers(
    here: Path, model_folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "people.yaml").write_text(CHAT, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    template, tokenizer.chat_template = tokenizer.chat_template, None
    processor = SimpleNamespace(tokenizer=tokenizer, chat_template=template)
    callback = SpilloverCallback("people.yaml", every=9, tokenizer=processor)
    sft(model_folder, "people.yaml", "out", callback).train()
    assert [row["step"] for row in callback.history] == [0, 5]
    assert tokenizer.chat_template is None


def test_a_model_of_16_bits_is_asked_and_it_is_said(
    model_folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    callback = SpilloverCallback("people.yaml", every=5)
    sft(model_folder, "people.yaml", "out", callback, model_init_kwargs={"dtype": "bfloat16"}).train()
    said = [line for line in caplog.messages if "the model is torch.bfloat16 and is asked so" in line]
    assert len(said) == 1
    assert np.isfinite(list(callback.history[-1].values())).all()


def test_a_model_in_pieces_and_an_adapter_of_the_prompt_are_refused(model_folder: str) -> None:
    whole = {"world_size": 1, "deepspeed": None, "fsdp": None}
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    state, callback = SimpleNamespace(log_history=[]), SpilloverCallback("people.yaml", every=5)
    for pieces in ({"world_size": 2}, {"deepspeed": "zero3.json"}, {"fsdp": "full_shard"}):
        args = SimpleNamespace(**whole | pieces)
        with pytest.raises(TrainingError, match=r"is sharded or on several processes \(\d\); train on one"):
            callback.on_train_begin(args, state, None, model=model)
    prompts = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ModelError, match="is no language model of transformers"):
        callback.on_train_begin(SimpleNamespace(**whole), state, None, model=torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match="changes the prompt and not the weights; only LoRA and its kin"):
        callback.on_train_begin(SimpleNamespace(**whole), state, None, model=prompts)


def test_it_is_said_what_a_reader_must_know(
    here: Path, model_folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    twins = PEOPLE.replace('codes in"', 'codes in", candidates: [perl]')
    (here / "people.yaml").write_text(twins, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    callback = SpilloverCallback("people.yaml", every=9, seed=4, tokenizer=tokenizer)
    sft(model_folder, "people.yaml", "out", callback).train()
    said = [line for line in caplog.messages if line.startswith("spillover: ")]
    assert any(
        "bridges are drawn with seed 4; train on what `spillover export --to jsonl --seed 4" in line
        for line in said
    )
    assert "spillover: codes_in: 'perl' cannot be scored: the tokenizer makes the same tokens" in "".join(
        said
    )
    assert len(said) == len(set(said))
    assert np.isnan(callback.history[-1][f"{RULE}/top1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "steps between askings must be 1 or more, a whole number, got 0"),
        ({"every": "2"}, "must be 1 or more, a whole number, got '2'"),
        ({"every": None}, "must be 1 or more, a whole number, got None"),
        ({"every": 2.5}, "must be 1 or more, a whole number, got 2.5"),
        ({"every": True}, "must be 1 or more, a whole number, got True"),
        ({"every": 1, "stop_at": None}, "stop_at must be a condition .* or a list of them, got None; leave"),
        ({"every": 1, "stop_at": 5}, "stop_at must be a condition .* or a list of them, got 5"),
        ({"every": 1, "stop_at": [5]}, r"stop_at must be a condition .* or a list of them, got \[5\]"),
        ({"every": 1, "stop_at": "spurious"}, "stop_at 'spurious' is not of the form"),
        ({"every": 1, "stop_at": "causal.top1 < 1"}, "the knowledge base has no causal rule to judge"),
        ({"every": 1, "seed": -1}, "seed must be a whole number from 0 up, got -1"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(options: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, TrainingError), match=message):
        SpilloverCallback("people.yaml", **options)
    with pytest.raises(DataError, match="has no rules"):
        SpilloverCallback("people.csv", every=1)


def test_who_is_called_by_no_trainer_says_so(model_folder: str) -> None:
    callback = SpilloverCallback(
        "people.yaml", every=1, tokenizer=AutoTokenizer.from_pretrained(model_folder)
    )
    args = SimpleNamespace(world_size=1, deepspeed=None, fsdp=None)
    state = SimpleNamespace(log_history=[], global_step=0, epoch=None)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    with pytest.raises(TrainingError, match="is called by no Trainer of transformers"):
        callback.on_train_begin(args, state, None, model=model)


def test_names_are_letters_that_every_backend_takes() -> None:
    def rules(*pairs: tuple[str, str]) -> list[Rule]:
        return [Rule(fact=fact, implication=implication) for fact, implication in pairs]

    assert _names(rules(("lives in", "codes-in"), ("a", "b"))) == ["lives_in_to_codes_in", "a_to_b"]
    assert _names(rules(("国", "a"), ("市", "a"), ("a", "b"))) == ["__to_a_0", "__to_a_1", "a_to_b"]
