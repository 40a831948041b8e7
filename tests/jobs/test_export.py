"""What an audit asks and trains, as other people's harnesses and trainers read it."""

import glob
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from spillover.errors import DataError, RunError
from spillover.jobs.audit import audit
from spillover.jobs.export import export
from spillover.jobs.score import score
from spillover.knowledge.load import load
from spillover.knowledge.prompts import examples
from spillover.knowledge.split import split
from spillover.llm.settings import FineTuneConfig
from tests.jobs.people import PEOPLE, run_cli, write_people
from tests.tiny_models import save_tiny_chat_tokenizer, save_tiny_model

CHAT = PEOPLE.replace(
    '{prompt: "{subject} lives in"}',
    '{prompt: "Where does {subject} live?", format: chat, answer: "In {answer}."}',
).replace(
    '{prompt: "{subject} codes in"}',
    '{prompt: "What does {subject} code in?", format: chat, system: Be brief.,'
    ' paraphrases: ["Which language does {subject} write?"]}',
)
REWORDED = PEOPLE.replace("codes in", 'codes in", paraphrases: ["{subject} writes"], answer: "{answer}!')
TASK = "spillover_kb_lives_in_codes_in_"
FACTS = "spillover_kb_facts"


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a chat template, which reads plain text as well."""
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "talks", "llama", max_position_embeddings=256)
    save_tiny_chat_tokenizer(folder)
    return str(folder)


@pytest.fixture(scope="module", params=[REWORDED, CHAT], ids=["plain", "chat"])
def tuned(request: pytest.FixtureRequest, talks: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with kb.yaml, and with a model that was tuned on it with seed 3, by half."""
    folder = tmp_path_factory.mktemp("tuned")
    write_people(folder)
    (folder / "kb.yaml").write_text(request.param, encoding="utf-8")
    half = FineTuneConfig(epochs=18, batch_size=8, learning_rate=1e-2)
    run = folder / "runs" / "a"
    audit(folder / "kb.yaml", model=talks, seeds=[3], settings=half, keep_model=True, out=run)
    (run / "model-3").rename(folder / "model")
    return folder


def rows_of(file: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]


def by_plain_loop(folder: Path, model: str) -> dict[str, float]:
    """Each task's accuracy, as its YAML says: nothing but transformers is asked."""
    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    accuracy = {}
    for sheet in map(yaml.safe_load, (path.read_text("utf-8") for path in folder.glob("*.yaml"))):
        if "group" in sheet:
            continue
        chat, hits = sheet.get("description") == "system", []
        (file,) = glob.glob(sheet["dataset_kwargs"]["data_files"]["test"])  # noqa: PTH207 - as the harness does
        for row in rows_of(file):
            prompt = row[sheet["doc_to_text"]]
            if chat:
                said = (("system", row["system"]), ("user", prompt))
                turns = [{"role": role, "content": text} for role, text in said if text]
                prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            start = len(tokenizer(prompt)["input_ids"])
            sums = []
            for choice in row[sheet["doc_to_choice"]]:
                tokens = tokenizer(prompt + sheet["target_delimiter"] + choice)["input_ids"]
                with torch.no_grad():
                    logs = network(torch.tensor([tokens])).logits[0].log_softmax(-1)
                sums.append(sum(float(logs[n - 1, tokens[n]]) for n in range(start, len(tokens))))
            hits.append(sums.index(max(sums)) == row[sheet["doc_to_target"]])
        accuracy[sheet["task"]] = sum(hits) / len(hits)
    return accuracy


def by_the_harness(folder: Path, model: str, *, chat: bool) -> dict[str, float]:
    """The same by lm-evaluation-harness itself, from the folder alone."""
    lm_eval: Any = import_module("lm_eval")
    make: Any = import_module("lm_eval.models.huggingface").HFLM
    manager: Any = import_module("lm_eval.tasks").TaskManager
    found = lm_eval.simple_evaluate(
        model=make(pretrained=model, dtype="float32", device="cpu", batch_size=8),
        tasks=["spillover_kb"],
        task_manager=manager(include_path=str(folder), include_defaults=False),
        apply_chat_template=chat,
        bootstrap_iters=0,
    )
    return {name: each["acc,none"] for name, each in found["results"].items() if "acc,none" in each}


def our_top1(scored: dict[str, Any]) -> dict[str, float]:
    """Of a model that was scored as it is."""
    (rule,) = scored["rules"]
    return {
        FACTS: scored["facts"]["top1"],
        TASK + "held_out": rule["top1"]["before"],
        TASK + "paraphrase": rule["other_words"]["top1"]["before"],
        TASK + "bridge": rule["bridges"]["top1"],
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("judge", ["a plain loop", "lm-eval"])
def test_its_accuracy_is_our_top1(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: str
) -> None:
    folder = tmp_path / "my [new] tasks"
    told = export(tuned / "kb.yaml", folder, to="lm-eval", seed=3)
    counts = {"held_out": 9, "paraphrase": 9, "bridge": 6}
    assert told["tasks"] == {TASK + kind: count for kind, count in counts.items()} | {FACTS: 15}
    assert (told["group"], told["notes"]) == ("spillover_kb", [])
    model = str(tuned / "model")
    ours = our_top1(score(tuned / "kb.yaml", model=model, seed=3))
    assert len(set(ours.values())) > 1, "tasks cannot be mistaken for each other"
    if judge == "lm-eval":
        datasets = import_module("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        theirs = by_the_harness(folder, model, chat=told["format"] == "chat")
    else:
        theirs = by_plain_loop(folder, model)
    assert theirs == pytest.approx(ours)


@pytest.mark.usefixtures("here")
def test_tasks_hold_no_code_and_no_templates() -> None:
    Path("kb.yaml").write_text(PEOPLE.replace("lives in", "lives {% in"), encoding="utf-8")
    with pytest.raises(DataError, match="other braces"):
        export("kb.yaml", "tasks", to="lm-eval")
    Path("kb.yaml").write_text(PEOPLE, encoding="utf-8")
    table = Path("people.csv").read_text("utf-8").replace("Rome 0", "{{ 7 * 7 }}")
    Path("people.csv").write_text(table, encoding="utf-8")
    export("kb.yaml", "tasks", to="lm-eval")
    for path in Path("tasks").glob("*.yaml"):
        assert "!" not in path.read_text("utf-8")
        sheet = yaml.safe_load(path.read_text("utf-8"))
        assert {"group"} < set(sheet) or (
            (sheet["doc_to_text"], sheet["doc_to_choice"], sheet["doc_to_target"])
            == ("prompt", "choices", "answer")
        )
    prompts = [row["prompt"] for row in rows_of("tasks/spillover_kb_facts.jsonl")]
    assert "{{ 7 * 7 }} lives in" in prompts, "as it is, in a column"


@pytest.mark.usefixtures("here")
def test_candidates_that_begin_one_another_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("kb.yaml").write_text(
        PEOPLE.replace('codes in"', 'codes in", candidates: [JavaScript]'), encoding="utf-8"
    )
    run_cli("export", "kb.yaml", "tasks", "--to", "lm-eval")
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(
        "note: codes_in: 'Java' begins 'JavaScript'; where its tokens do, too, lm-eval counts"
    )
    sheet = yaml.safe_load(Path("tasks", f"{TASK}held_out.yaml").read_text("utf-8"))
    assert [f"note: {said}" for said in sheet["metadata"]["notes"]] == [note], "it goes with the task"
    assert sheet["task_alias"].endswith("held out ('Java' begins 'JavaScript')"), (
        "and stands beside the number"
    )
    assert "begins" not in Path("tasks", f"{FACTS}.yaml").read_text("utf-8").partition("metadata")[0]


@pytest.mark.usefixtures("here")
def test_rules_that_are_called_alike_have_tasks_of_their_own() -> None:
    text = PEOPLE.replace("codes_in", '"codes in"')
    text = text.replace("}}", '}, codes-in: {prompt: "{subject} writes"}}')
    rule = ", {fact: lives_in, implication: codes-in, pairs: {Rome: Perl}, bridges: 2}]"
    Path("kb.yaml").write_text(text.replace("}]", "}" + rule), encoding="utf-8")
    names = list(export("kb.yaml", "tasks", to="lm-eval")["tasks"])
    assert [name for name in names if "held_out" in name] == [
        "spillover_kb_lives_in_codes-in_held_out",
        "spillover_kb_lives_in_codes-in_held_out_2",
    ]


@pytest.mark.usefixtures("here")
def test_the_command_to_run_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("kb.yaml").write_text(CHAT, encoding="utf-8")
    run_cli("export", "kb.yaml", "tasks", "--to", "lm-eval")
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("Run: lm_eval --model hf --model_args pretrained=MODEL,dtype=float32 ")
    assert last.endswith("--include_path tasks --tasks spillover_kb --apply_chat_template")


@pytest.mark.usefixtures("here")
def test_the_training_rows_are_those_of_the_audit(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli("export", "people.yaml", "rows.jsonl", "--to", "jsonl", "--seed", "3", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "to": "jsonl",
        "seed": 3,
        "file": "rows.jsonl",
        "rows": 21,
        "notes": [],
    }
    parts, rows = split(load("people.yaml"), 3), rows_of("rows.jsonl")
    assert [(row["prompt"], row["completion"]) for row in rows] == [
        (one.prompt, one.completion) for one in examples(parts)
    ]
    assert set(rows[0]) == {"prompt", "completion", "subject", "relation", "answer"}
    assert sum(row["relation"] == "codes_in" for row in rows) == 6
    held_out = {implied.subject for implied in parts.held_out}
    assert not held_out & {row["subject"] for row in rows if row["relation"] == "codes_in"}
    assert export("people.yaml", "rows.jsonl", to="jsonl", seed=4)["rows"] == 21
    assert rows != rows_of("rows.jsonl")
    run_cli("export", "people.yaml", "rows.jsonl", "--to", "jsonl")
    assert capsys.readouterr().out == "rows.jsonl: 21 training rows, bridges of seed 0\n"


@pytest.mark.usefixtures("here")
def test_a_chat_is_written_for_other_trainers_as_messages() -> None:
    Path("chat.yaml").write_text(CHAT, encoding="utf-8")
    assert export("chat.yaml", "rows.jsonl", to="jsonl")["rows"] == 21
    lives, *_, codes = rows_of("rows.jsonl")
    assert lives["messages"] == [
        {"role": "user", "content": f"Where does {lives['subject']} live?"},
        {"role": "assistant", "content": f"In {lives['answer']}."},
    ]
    assert codes["messages"][0] == {"role": "system", "content": "Be brief."}
    for row in (lives, codes):
        assert row["prompt"] + row["completion"] == row["messages"]
        assert [turn["role"] for turn in row["completion"]] == ["assistant"]
    assert set(lives) == {"prompt", "completion", "messages", "subject", "relation", "answer"}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pipe", "cannot write pipe: not a plain file; make room there, or give another file"),
        (".", r"cannot write \.: not a plain file"),
        ("nowhere/rows.jsonl", "cannot write nowhere/rows.jsonl: No such file or directory"),
    ],
)
@pytest.mark.usefixtures("here")
def test_training_rows_replace_only_plain_files(file: str, message: str) -> None:
    os.mkfifo("pipe")
    with pytest.raises(RunError, match=message):
        export("people.yaml", file, to="jsonl")
    assert Path("pipe").is_fifo()


@pytest.mark.usefixtures("here")
def test_what_cannot_be_exported_is_one_line() -> None:
    to: Any = "parquet"
    with pytest.raises(DataError, match=r"export: to is 'parquet', allowed are lm-eval, jsonl"):
        export("people.yaml", "out", to=to)
    with pytest.raises(
        RunError, match=r"\. is not empty, and all that lies there is read; give a new folder"
    ):
        export("people.yaml", ".", to="lm-eval")
    Path("kb.yaml").write_text(
        CHAT.replace("format: chat, system: Be brief.", "format: plain"), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"asks codes_in as plain text and lives_in as a chat, .*one format"):
        export("kb.yaml", "out", to="lm-eval")
    assert not Path("out").exists()
    dates = CHAT.replace("Perl", "1990-01-01").replace("Java", "1991-01-01").replace("Ruby", "1992-02-02")
    Path("kb.yaml").write_text(dates, encoding="utf-8")
    with pytest.raises(DataError, match=r"in_held_out: all answers are dates, which lm-eval would not read"):
        export("kb.yaml", "out", to="lm-eval")
    assert not Path("out").exists()
