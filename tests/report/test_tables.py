from pathlib import Path

import pytest
from rich.console import Console

from spillover.report.tables import audit_table, runs_table
from spillover.runs.record import RunView

from .fixture import manifest, results, rule_row


def shown(renderable) -> str:
    console = Console(width=80, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(renderable)
    return console.export_text()


def words(text: str) -> str:
    return " ".join(text.split())


def test_audit_table_reads_without_the_paper():
    text = shown(audit_table(results()))
    said = words(text)
    assert said.index("Wanted") < said.index("lives in → speaks") < said.index("Unwanted")
    assert said.index("Unwanted") < said.index("comes from → codes in")
    assert "first 11% 91% 83–96% 20%" in said  # noqa: RUF001
    assert "rank 4.31 0.09 0.03–0.19 2.00 < 0.001" in said  # noqa: RUF001
    assert "Generalized: asked 80 times" in said
    assert "HALLUCINATED: asked 80 times" in said
    assert "chance: the same with the subjects' groups shuffled" in said


@pytest.mark.parametrize("length", [1, 12, 60])
def test_audit_table_fits_80_columns_and_loses_nothing(length):
    rules = [
        rule_row(kind, fact="f" * length, implication="i" * length, mean_rank_high=123.45)
        for kind in ("causal", "spurious", "spurious")
    ]
    text = shown(audit_table(results() | {"rules": rules}))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_markup_in_names_is_text():
    text = shown(
        audit_table(results() | {"rules": [rule_row(fact="[bold]x[/bold]")], "knowledge_base": "[red]kb"})
    )
    assert "[bold]x[/bold]" in text.replace("\n", "")
    assert "[red]kb" in text


def test_undefined_numbers_are_dashes():
    empty = {"before": None, "after": None, "low": None, "high": None, "null": None}
    rule = rule_row(queries=0, p_value=None) | {"top1": empty, "mean_rank": empty}
    assert "No verdict: no held-out query could be scored." in words(
        shown(audit_table(results() | {"rules": [rule]}))
    )
    assert "No rule was tested." in shown(audit_table(results() | {"rules": []}))


def test_an_untuned_model_gets_numbers_and_no_verdict():
    rule = rule_row(top1_after=None, mean_rank_after=None)
    text = shown(audit_table(results() | {"tuned": None, "rules": [rule]}))
    assert "smollm2-135m untuned, asked about demo" in text
    assert "Facts known: > 99% of 200" in text
    assert "No verdict" not in text
    assert "smollm2-135m before, mine after, asked about demo" in shown(
        audit_table(results() | {"tuned": "mine"})
    )


def test_runs_table_fits_80_columns():
    name = "city-language-counterfactual-smollm2-135m-20261123-110000"
    views = [
        RunView(folder=Path(name), manifest=manifest(), status="complete"),
        RunView(folder=Path("cut"), manifest=manifest(results=None), status="incomplete"),
        RunView(folder=Path("odd"), manifest={}, status="broken", reason="manifest.json is not valid JSON"),
    ]
    text = shown(runs_table(views))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for expected in (
        "speaks 91% (20%)",
        "codes in 59% (20%)",
        "incomplete",
        "2026-11-23",
        "11:00",
        "smollm2-135m",
    ):
        assert expected in text
    assert "manifest.json" in text
