"""Chats are scored as they were trained; and it is noticed where they are asked otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.errors import ModelError
from spillover.jobs.audit import audit
from spillover.jobs.score import score
from spillover.llm.settings import FineTuneConfig
from spillover.outcome import read_scores
from spillover.runs.record import read_run
from tests.jobs.people import PEOPLE
from tests.tiny_models import save_tiny_chat_tokenizer, save_tiny_model

ANSWER = "In {answer}."
CHAT = PEOPLE.replace(
    '{prompt: "{subject} lives in"}',
    f'{{prompt: "Where does {{subject}} live?", format: chat, answer: "{ANSWER}"}}',
).replace(
    '{prompt: "{subject} codes in"}',
    f'{{prompt: "What does {{subject}} code in?", format: chat, answer: "{ANSWER}", system: Be brief.}}',
)
LEARNS = FineTuneConfig(epochs=30, batch_size=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "talks", "llama", max_position_embeddings=256)
    save_tiny_chat_tokenizer(folder)
    return str(folder)


@pytest.fixture
def tuned(here: Path, talks: str) -> str:
    """A model that was tuned on chats, in a folder of its own."""
    (here / "chat.yaml").write_text(CHAT, encoding="utf-8")
    audit("chat.yaml", model=talks, settings=LEARNS, keep_model=True, out="runs/chat")
    return "runs/chat/model-0"


def by_plain_loop(folder: str, user: str, candidate: str, system: str = "") -> float:
    """The log-probability that the assistant's turn begins with this answer."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    said = [{"role": role, "content": text} for role, text in (("system", system), ("user", user)) if text]
    prompt = tokenizer.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
    answer = tokenizer(ANSWER.partition("{")[0] + candidate, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logs = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
    return sum(float(logs[len(prompt) + place - 1, token]) for place, token in enumerate(answer))


def test_a_chat_is_scored_as_a_plain_loop_scores_it(tuned: str) -> None:
    rows = read_scores(read_run("runs/chat")).to_pylist()
    asked = [row for row in rows if row["phase"] == "after" and row["kind"] in ("fact", "held_out")]
    assert len(asked) == (15 + 9) * 3
    assert {row["prompt"] for row in asked if row["relation"] == "lives_in"} == {
        f"Where does {row['subject']} live?" for row in asked
    }, "without the turns"
    for row in asked[::5]:
        words = {"lives_in": "Where does {} live?", "codes_in": "What does {} code in?"}[row["relation"]]
        system = "Be brief." if row["relation"] == "codes_in" else ""
        expected = by_plain_loop(tuned, words.format(row["subject"]), row["candidate"], system)
        assert row["logprob"] == pytest.approx(expected, abs=1e-4)


def test_a_question_in_another_format_than_the_trained_one_is_noticed(tuned: str, talks: str) -> None:
    as_trained = score("chat.yaml", model=talks, tuned=tuned)
    other = as_trained["other_format"]
    assert other["format"] == "plain"
    assert other["top1_as_asked"] == np.mean(
        [as_trained["facts"]["top1"]] * 15 + [as_trained["rules"][0]["bridges"]["top1"]] * 6
    )
    assert other["gain"]["high"] < 0
    assert not any("set format" in note for note in as_trained["notes"])
    plain = CHAT.replace("format: chat", "format: plain").replace(", system: Be brief.", "")
    Path("plain.yaml").write_text(plain, encoding="utf-8")
    otherwise = score("plain.yaml", model=talks, tuned=tuned)
    (note,) = (note for note in otherwise["notes"] if "set format: chat" in note)
    assert "gives its trained answers as chat rather than as asked here" in note
    assert otherwise["other_format"]["gain"]["low"] > 0.1
    assert otherwise["rules"][0]["top1"]["after"] <= as_trained["rules"][0]["top1"]["after"]


def test_a_model_without_a_template_is_one_line(here: Path, tiny: str) -> None:
    (here / "chat.yaml").write_text(CHAT, encoding="utf-8")
    with pytest.raises(ModelError, match=r"relation lives_in is of format chat, and .* has no chat template"):
        audit("chat.yaml", model=tiny)
    (here / "people.yaml").write_text(PEOPLE, encoding="utf-8")
    assert "other_format" not in score("people.yaml", model=tiny, tuned=tiny)
