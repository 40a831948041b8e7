"""Table 1 of a tiny model on two data sets: as its audits, resumed after a stop, beside the paper's."""

import json
from functools import partial
from pathlib import Path

import pytest

from spillover.errors import LabError, ModelError, TrainingError
from spillover.jobs.audit import audit
from spillover.jobs.language_models import reproduce_study
from spillover.llm.settings import FineTuneConfig
from spillover.reproduce.columns import latex, table_of
from spillover.reproduce.figure import Row
from spillover.reproduce.study import RECIPES, Recipe
from spillover.reproduce.table_1 import COLUMNS, DATA, MODELS, paper_rank
from tests.jobs.people import run_cli

table_1 = partial(reproduce_study, "table-1")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> FineTuneConfig:
    """A recipe of one epoch in big batches."""
    settings = FineTuneConfig(epochs=1, batch_size=24, learning_rate=1e-3)
    monkeypatch.setitem(RECIPES, "ours", Recipe(settings=settings, left_open=("everything",)))
    return settings


@pytest.fixture
def two(here: Path) -> list[str]:
    """Two small data sets; of the first, other people are taught."""
    text = (here / "people.yaml").read_text("utf-8")
    (here / "others.yaml").write_text(text.replace("bridges: 2", "bridges: 3"), encoding="utf-8")
    return ["others.yaml", "people.yaml"]


def test_the_table_is_its_audits(tiny: str, here: Path, quick: FineTuneConfig) -> None:
    sets = ["country-code", "people.yaml"]
    document = table_1(models=[tiny], data=sets, seeds=(0, 1))
    for row, kb, queries in zip(document["rows"], sets, (160, 18), strict=True):
        alone = audit(kb, model=tiny, seeds=[0, 1], settings=quick, out=f"runs/{kb}")
        (rule,) = alone["rules"]
        assert (row["data"], row["seeds"], row["queries"]) == (Path(kb).stem, 2, queries)
        for name in ("after", "low", "high", "null"):
            assert row[f"rank_{name}"] == rule["mean_rank"][name]
            assert row[f"top1_{name}"] == rule["top1"][name]
        assert (row["rank_p"], row["top1_p"]) == (rule["mean_rank"]["p_value"], rule["top1"]["p_value"])
        assert row["paper_rank"] is None
    assert document["cells"] == {"done": 6, "failed": 0}
    assert [check["measured"] for check in document["checks"]][-1] == "0 of 2"
    folder = Path(document["run"])
    assert {path.name for path in folder.iterdir()} >= {"chart.html", "chart.svg", "table.csv", "table.tex"}
    assert (folder / "chart.html").read_text("utf-8").count("<td>country-code</td>") == 1
    assert table_1(models=[tiny], data=sets, seeds=(0, 1)) == document, "a finished table is read"


def test_what_was_stopped_goes_on_to_the_same_table(
    tiny: str, two: list[str], tmp_path: Path, quick: FineTuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spillover.cells import tune

    whole, calls = tune.finetune, []

    def stopped(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(tune, "finetune", stopped)
    with pytest.raises(KeyboardInterrupt):
        table_1(models=[tiny], data=two, seeds=(0,))
    again = table_1(models=[tiny], data=two, seeds=(0,))
    assert len(calls) == 3, "the first cell was not computed again"
    undisturbed = table_1(models=[tiny], data=two, seeds=(0,), out=tmp_path / "elsewhere" / "table")
    assert again["rows"] == undisturbed["rows"]


def test_a_failing_cell_leaves_the_rest_of_the_table(
    tiny: str, two: list[str], quick: FineTuneConfig, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from spillover.cells import tune

    whole = tune.finetune

    def diverging(model, tokenizer, taught, settings, **options):
        if len(taught) == 24:  # 15 facts and 3 x 3 bridges
            raise TrainingError("the loss is not finite; tune with a smaller --learning-rate")
        return whole(model, tokenizer, taught, settings, **options)

    monkeypatch.setattr(tune, "finetune", diverging)
    words = ("--models", tiny, "--data", *two, "--seeds", "0")
    assert run_cli("reproduce", "table-1", *words, "--json") == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [row["data"] for row in document["rows"]] == ["people"]
    assert "failed: " in captured.err
    assert "others: the loss is not finite" in captured.err
    monkeypatch.setattr(tune, "finetune", whole)
    assert run_cli("reproduce", "table-1", *words) == 0
    printed = capsys.readouterr().out
    assert "others" in printed
    assert "people" in printed


def test_without_the_five_models_one_line_offers_what_runs(here: Path, monkeypatch) -> None:
    def absent(name, **_):
        raise ModelError(f"model {name} is not in the cache")

    monkeypatch.setattr("spillover.llm.models.locate", absent)
    with pytest.raises(ModelError, match=r"five models are not all here \(.*--models smollm2-135m runs any"):
        table_1()


def test_options_of_the_table_are_refused_elsewhere(here: Path) -> None:
    with pytest.raises(LabError, match=r"are for table-1, .*, not theorem-1"):
        run_cli("reproduce", "theorem-1", "--lora", "8")
    with pytest.raises(LabError, match="table-1 has no --fresh: its cells are kept; use another --out"):
        run_cli("reproduce", "table-1", "--fresh")
    with pytest.raises(LabError, match="there is no recipe 'theirs'; it can be ours, paper"):
        table_1(recipe="theirs")


def test_the_papers_ranks() -> None:
    """Table 1 of arXiv 2506.10887."""
    assert [paper_rank("qwen2-7b", kb) for kb in DATA] == [0.13, 4.55, 3.63, 0.82, 0.40]
    assert sum(paper_rank(model, kb) for model in MODELS for kb in DATA) == pytest.approx(25.19)
    assert paper_rank("smollm2-135m", DATA[0]) != paper_rank("smollm2-135m", DATA[0])


def test_latex_escapes_and_a_row_has_every_column() -> None:
    measures = {f"{m}_{n}": 0.5 for m in ("rank", "top1") for n in ("after", "low", "high", "null", "p")}
    row: Row = {
        "model": "a_b",
        "data": "c&d",
        "seeds": 3,
        "facts": 1.0,
        "bridges": 0.9,
        "paper_rank": float("nan"),
    }
    page = table_of(COLUMNS, [row | measures])
    ((block, (cells,)),) = page.blocks
    assert block == "a_b, 3 seeds"
    assert len(page.headings) == len(page.numbers) == len(cells) == 10
    assert [len(cell) for cell in cells] == [1, 1, 1, 2, 1, 1, 1, 2, 1, 1]
    lines = latex(COLUMNS, [row | measures]).splitlines()
    assert lines[-4] == r"\multicolumn{10}{l}{a\_b, 3 seeds} \\"
    assert lines[-3].startswith(r"c\&d & 100\% & 90\% & 0.50 [0.50--0.50] & 0.50 & 0.50 & -- & 50\% ")
    assert [line.count(" & ") for line in lines if " & " in line] == [9, 9]
