import math
from pathlib import Path

import pytest
from rich.console import Console

from spillover.report.tables import audit_table, runs_table
from spillover.runs.record import RunView

from .fixture import manifest, measured, of_version_0_1, results, rule_row


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
    assert "first 11% 91% 83–96% 20% 0.002" in said  # noqa: RUF001
    assert "rank 4.31 0.09 0.03–0.19 2.00 < 0.001" in said  # noqa: RUF001
    assert "asked 100 times facts > 99%" in said
    assert "asked 20 times bridges 100%" in said
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
    empty = measured(None, None, None, None, None, None)
    rule = rule_row(queries=0, p_value=None) | {"top1": empty, "mean_rank": empty}
    assert "No verdict: no held-out query could be scored." in words(
        shown(audit_table(results() | {"rules": [rule]}))
    )
    assert "No rule was tested." in shown(audit_table(results() | {"rules": []}))


def test_a_document_in_python_reads_as_the_one_in_json():
    found = results()
    found["rules"] += [rule_row(queries=0, p_value=None, top1=measured(*[None] * 6), facts_top1=None)]
    told = shown(audit_table(found))
    assert shown(audit_table(in_python(found))) == told
    assert "nan" not in told.replace("hallucinated", "")


def in_python(value):
    """Undefined is NaN, as in the document that a function returns."""
    if isinstance(value, dict):
        return {name: in_python(item) for name, item in value.items()}
    if isinstance(value, list):
        return [in_python(item) for item in value]
    return math.nan if value is None else value


def test_a_run_of_version_0_1_is_read():
    old = results() | {"rules": [of_version_0_1(rule) for rule in results()["rules"]]}
    text = words(shown(audit_table(old)))
    assert "first 11% 91% 83–96% 20% – 10 candidates rank" in text  # noqa: RUF001
    assert "2.00 < 0.001 Generalized: asked 80 times" in text
    assert "corrected" not in text
    assert "speaks 91% (20%)" in shown(
        runs_table([RunView(folder=Path("old"), manifest=manifest(results=old), status="complete")])
    )


def test_several_rules_are_said_to_be_corrected_together():
    assert "p: how often shuffling does as well, corrected for 2 rules." in words(
        shown(audit_table(results()))
    )
    one = results() | {"rules": [rule_row()]}
    assert "p: how often shuffling does as well. " in words(shown(audit_table(one)))


def test_a_rule_that_was_not_taught_has_no_verdict():
    found = results() | {"rules": [rule_row(bridges_top1=0.2)]}
    assert "No verdict: of what it was trained on, the model answers 99% of the facts" in words(
        shown(audit_table(found))
    )
    view = RunView(folder=Path("run"), manifest=manifest(results=found), status="complete")
    assert "codes in (no verdict)" in words(shown(runs_table([view])))


@pytest.mark.parametrize("tuned", [{}, {"tuned": None}])
def test_candidates_that_could_not_be_scored_are_named(tuned):
    rule = rule_row(unscorable=[{"candidate": "[red]C++", "reason": "it has no tokens"}])
    text = words(shown(audit_table(results() | {"rules": [rule]} | tuned)))
    assert "Not scored: “[red]C++” (it has no tokens)." in text


def test_an_untuned_model_gets_numbers_and_no_verdict():
    rule = rule_row(top1_after=None, mean_rank_after=None)
    text = shown(audit_table(results() | {"tuned": None, "rules": [rule]}))
    assert "smollm2-135m untuned, asked about demo" in text
    assert "Facts known: > 99% of 200" in text
    assert "facts > 99% 100" not in words(text)
    assert "asked 100 times facts > 99%" in words(text)
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


def listed(**changes):
    view = RunView(folder=Path("run"), manifest=manifest(**changes), status="complete")
    return words(shown(runs_table([view])))


def checks(*held, kind="expectation"):
    return [{"kind": kind, "holds": holds} for holds in held]


def test_a_reproduction_is_listed_with_how_many_checks_hold():
    text = listed(
        command="reproduce",
        arguments={"name": "theorem-2", "seeds": 4},
        results={"checks": checks(True, False, True) + checks(True, kind="question")},
    )
    assert "theorem-2 2 of 3 checks hold" in text
    assert "yes to 1 of 1 questions" in text
    open_question = listed(
        command="reproduce",
        arguments={"name": "softmax"},
        results={"checks": checks(False, True, kind="question")},
    )
    assert "softmax yes to 1 of 2 questions" in open_question
    assert "checks hold" not in open_question


def test_a_run_of_the_lab_is_listed_with_what_it_trained():
    arguments = {"groups": 20, "ov": ["factorized", "merged"], "d_h": [3, 128]}
    text = listed(command="symbolic", arguments=arguments, results={"settings": []})
    assert "20 groups 11:00 factorized d_h = 3, 128 merged" in text
    merged = listed(command="symbolic", arguments=arguments | {"ov": ["merged"]}, results=None)
    assert "128" not in merged


def test_other_words_have_a_row_each_and_are_explained():
    said = {"wording": "{subject} writes [b]", "top1": measured(0.1, 0.44, 0.3, 0.6, 0.2, 0.002)}
    document = results()
    assert "in other words" not in words(shown(audit_table(document)))
    document["rules"][0]["paraphrases"] = [said | {"mean_rank": measured(4, 1, 0, 2, 2)}]
    text = words(shown(audit_table(document)))
    assert "“{subject} writes [b]” first 10% 44% 30–60% 20% 0.002" in text  # noqa: RUF001
    assert "In quotes: the same in other words." in text
