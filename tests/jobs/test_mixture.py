"""An audit whose tune has further examples beside the triples, as the user's has."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from spillover.errors import DataError, ModelError, TrainingError
from spillover.jobs.audit import audit
from spillover.jobs.export import export
from spillover.jobs.score import score
from spillover.knowledge.load import load
from spillover.knowledge.mixture import lessons, telling
from spillover.knowledge.prompts import Query, queries
from spillover.knowledge.schema import KnowledgeBase, Passage
from spillover.knowledge.split import split
from spillover.llm.chat import with_turns_of
from spillover.llm.settings import FineTuneConfig
from spillover.runs.record import read_run
from tests.jobs.people import PEOPLE, run_cli
from tests.tiny_models import CHAT, save_tiny_chat_tokenizer, save_tiny_model

STEPS = FineTuneConfig(epochs=1, batch_size=8)
OTHERS: list[dict[str, Any]] = [
    {"text": "The tide comes in twice a day."},
    {"prompt": "Two and two are", "completion": " four"},
    {
        "messages": [
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "Good day."},
            {"role": "user", "content": "And now?"},
            {"role": "assistant", "content": "Good night."},
        ]
    },
]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "talks", "llama", max_position_embeddings=256)
    save_tiny_chat_tokenizer(folder)
    return str(folder)


def write(others: list[dict[str, Any]], sheet: str = PEOPLE) -> None:
    Path("mixed.yaml").write_text(sheet + "\nmixture: other.jsonl\n", encoding="utf-8")
    Path("other.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in others), encoding="utf-8")


def taught(run: str) -> list[dict[str, Any]]:
    cells = (json.loads(path.read_text("utf-8")) for path in Path(run).parent.glob("cells/*/cell.json"))
    return max((cell["taught"] for cell in cells), key=len)


def test_it_is_trained_as_it_stands_and_its_shares_are_told(
    here: Path, talks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(OTHERS)
    assert run_cli("audit", "mixed.yaml", "--model", talks, "--epochs", "1", "--out", "runs/mixed") == 0
    table = [each for each in taught("runs/mixed") if each["relation"]]
    beside = [(each["prompt"], each["completion"]) for each in taught("runs/mixed") if not each["relation"]]
    asked = "<|user|>Hello?<|end|>\n<|assistant|>"
    assert beside == [
        ("The", " tide comes in twice a day."),
        ("Two and two are", " four"),
        (asked, "Good day.<|end|>"),
        (f"{asked}Good day.<|end|>\n<|user|>And now?<|end|>\n<|assistant|>", "Good night.<|end|>"),
    ]
    run = read_run("runs/mixed")
    shares = {each["relation"]: each for each in run.manifest["results"]["ingredients"]}
    assert shares.keys() == {"lives_in", "codes_in", None}
    assert shares[None]["examples"] == pytest.approx(4 / (len(table) + 4))
    for what in ("examples", "tokens", "loss"):
        assert sum(each[what] for each in shares.values()) == pytest.approx(1)
    last = run.read_jsonl("metrics.jsonl")[-1]["ingredients"]
    steps = [row for row in run.read_jsonl("metrics.jsonl") if "losses" in row]
    assert last[""]["loss"] == pytest.approx(sum(row["losses"].get("", [0.0])[0] for row in steps))
    assert last[""]["tokens"] / sum(each["tokens"] for each in last.values()) == shares[None]["tokens"]
    assert "Trained beside the table: " in capsys.readouterr().out
    assert "beside the table" in (run.folder / "report.html").read_text("utf-8")


def test_a_table_alone_says_nothing_of_a_mixture(here: Path, talks: str) -> None:
    Path("people.yaml").write_text(PEOPLE, encoding="utf-8")
    audit("people.yaml", model=talks, settings=STEPS, out="runs/alone")
    assert "beside the table" not in Path("runs/alone/report.html").read_text("utf-8")


def test_what_tells_of_the_held_out_is_not_trained(here: Path, talks: str) -> None:
    Path("people.yaml").write_text(PEOPLE, encoding="utf-8")
    plain = audit("people.yaml", model=talks, settings=STEPS, out="runs/plain")
    row = next(
        row
        for row in read_run("runs/plain").read_parquet("scores.parquet").to_pylist()
        if row["kind"] == "held_out" and row["right"]
    )
    told = {"text": f"We all know that {row['subject'].upper()}'s tools are in  {row['candidate']}, mostly."}
    near = {"text": f"We all know that {row['subject']}s tools are in {row['candidate']}ish, mostly."}
    write([told, near])
    mixed = audit("mixed.yaml", model=talks, settings=STEPS, out="runs/mixed")
    assert [each["completion"] for each in taught("runs/mixed") if not each["relation"]] == [near["text"][2:]]
    (note,) = set(mixed["notes"]) - set(plain["notes"])
    assert note.startswith(
        "seed 0, not trained: 1 of the 2 passages of the mixture tell somebody held out an"
    )
    assert "other.jsonl: record 1" in note
    warned = score("mixed.yaml", model=talks, tuned=talks)["notes"]
    assert sum(note.endswith("; if your tune had these, they were told") for note in warned) == 1


@pytest.mark.parametrize(
    ("other", "trained"),
    [
        ({"prompt": "Bern 0 codes in", "completion": " Ruby"}, False),
        ({"prompt": "Bern 0 codes in", "completion": " Perl"}, False),  # wrong, and an answer all the same
        ({"prompt": "BERN 0  codes in", "completion": " nothing"}, False),  # the question itself
        ({"text": "Perl is what Bern 0 has at home."}, False),
        ({"text": "Perl is what Bern 01 has at home."}, True),
        ({"text": "Bern 0 lives at home."}, True),
    ],
)
def test_what_tells_somebody_held_out_an_answer(here: Path, other: dict[str, Any], trained: bool) -> None:
    write([other])
    kb = load("mixed.yaml")
    (held_out,) = (query for query in queries(split(kb, 0)) if query.words == "Bern 0 codes in")
    assert held_out.kind == "held_out"
    assert telling(kb.mixture, queries(split(kb, 0))) == ([] if trained else [0])
    assert len(export("mixed.yaml", "rows.jsonl", to="jsonl")["notes"]) == 2 - trained


def test_names_in_scripts_without_spaces_are_found() -> None:
    query = Query(
        prompt="马拉写",
        candidates=("红语", "蓝语"),
        answer="红语",
        subject="马拉",
        relation="writes",
        rule=0,
        kind="held_out",
        group="巴黎",
    )
    told, other = (
        Passage(turns=(("assistant", text),), format="plain")
        for text in ("我们知道马拉用红语。", "马在红语。")
    )
    assert telling([told, other], [query]) == [0]
    assert lessons([told])[0].prompt == "我", "the first sign is read"


def test_a_chats_prompt_is_the_templates_to_its_last_line_break(here: Path, tmp_path: Path) -> None:
    """And a short answer is not looked for in the template's own words."""
    template = CHAT.replace("<|assistant|>{% endif %}", "<|assistant|>\n{% endif %}").replace(
        "{{ m.content }}", "{{ '\n' if m.role == 'assistant' else '' }}{{ m.content }}"
    )
    save_tiny_chat_tokenizer(tmp_path, template)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    turns = (("user", "Pick a or d"), ("assistant", "d"))
    kb = KnowledgeBase(
        name="kb", triples=(), relations={}, rules=(), mixture=(Passage(turns=turns, format="chat"),)
    )
    (lesson,) = lessons(with_turns_of(tokenizer, kb, "here").mixture)
    assert (lesson.prompt, lesson.completion) == ("<|user|>Pick a or d<|end|>\n<|assistant|>\n", "d<|end|>")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_text_longer_than_the_model_reads_is_one_line(here: Path, architecture: str) -> None:
    limit = {"llama": "max_position_embeddings", "gpt2": "n_positions"}[architecture]
    tiny = save_tiny_model(here / "tiny", architecture, **{limit: 64})
    write([{"text": "word " * 80}])
    with pytest.raises(TrainingError, match=r"to train has \d+ tokens, and .* reads at most 64; shorten"):
        audit("mixed.yaml", model=str(tiny), settings=STEPS)


def test_a_model_without_a_template_is_scored_though_the_mixture_has_chats(here: Path, tiny: str) -> None:
    write(OTHERS)
    assert score("mixed.yaml", model=tiny, tuned=tiny)["rules"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"words": "x"}, r"other.jsonl: record 1: has the fields 'words'; it must have messages; or"),
        (
            {"text": "One"},
            "other.jsonl: record 1: nothing is left to learn behind its first word; leave it out",
        ),
        ({"prompt": "One", "completion": " "}, "record 1: the assistant says nothing"),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            "record 1: the assistant says nothing, so nothing",
        ),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "record 1: has a turn of 'tool', which is not trained",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(here: Path, other: dict[str, Any], said: str) -> None:
    write([other])
    with pytest.raises(DataError, match=said) as caught:
        audit("mixed.yaml")
    assert "\n" not in str(caught.value)


def test_a_chat_needs_a_template(here: Path, tiny: str) -> None:
    write(OTHERS)
    with pytest.raises(
        ModelError, match=r"other.jsonl: record 3 is of format chat, and .* has no chat template"
    ):
        audit("mixed.yaml", model=tiny)
