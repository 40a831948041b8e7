import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pytest

from spillover.errors import RunError
from spillover.report.page import command_line, write_report

from .fixture import manifest, measured, of_version_0_1, results, rule_row, write_run

EVIL = "</script><script>alert(1)</script>"
LOADING = {"src", "href", "action", "data", "poster", "srcset", "background", "formaction", "xlink:href"}


class Page(HTMLParser):
    """Elements, text and scripts as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.handlers, self.scripts, self.charts, self.styles = [], [], [], [], []
        self._into, words = None, []
        self._words = words
        self.feed(text)
        self.text = " ".join(" ".join(words).split())

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self._into = self.charts if ("type", "application/json") in attrs else self.scripts
            self._into.append("")
        elif tag == "style":
            self._into = self.styles
            self._into.append("")

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._into = None

    def handle_data(self, data):
        if self._into is None:
            self._words.append(data)
        else:
            self._into[-1] += data


def test_the_page_tells_the_whole_story_in_order(page):
    text = Page(page).text
    parts = [
        "What fine-tuning taught beyond the data",
        "it generalized the wanted rule and it hallucinated the spurious rule.",
        "Verdict per rule",
        "Wanted",
        "91%",
        "83–96%",  # noqa: RUF001
        "Asked 80 times for “speaks” it was never told",
        "Unwanted",
        "HALLUCINATED",
        "59%",
        "What the table forecast",
        "“codes in” will follow “comes from”: margin 0.50 from 4 bridges per group.",
        "Certified: the least nuclear norm lies in [52.4708, 52.4745]",
        "Where the right answer stands",
        "What each group is answered",
        "Facts learned",
        "implication, bridges only",
        "Examples in words",
        "Invented as the rule suggests",
        "Invented, and not even by the rule",
        "Generalized: answered by the rule",
        "Training curve",
        "Settings and versions",
        "2.13.0",
        "5e" * 32,
        "spillover audit demo --seeds 0 --learning-rate 0.0001",
    ]
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert re.search(
        r"(\w+ \w+) comes from France → the model now says: \1 codes in Python : never in the data\.", text
    )


def test_five_charts_travel_as_data(page):
    charts = [json.loads(chart) for chart in Page(page).charts]
    assert len(charts) == 5
    assert all(chart["background"] == "white" for chart in charts)
    assert not any("$schema" in chart for chart in charts)
    for chart in charts:
        alt.Chart.from_dict(chart, validate=True)


def test_the_page_loads_nothing(page):
    seen = Page(page)
    assert not [item for item in seen.attributes if item[1] in LOADING]
    assert not [
        item for item in seen.attributes if item[0] in ("link", "iframe", "img", "object", "embed", "base")
    ]
    assert not [
        item for item in seen.attributes if "url(" in item[2] or "http" in item[2].replace("http-equiv", "")
    ]
    for style in seen.styles:
        assert "url(" not in style
        assert "@import" not in style
    assert not any("http" in chart for chart in seen.charts)


def test_only_the_script_of_the_page_may_run(page):
    seen = Page(page)
    (script,) = seen.scripts
    (policy,) = (
        value for tag, name, value in seen.attributes if (tag, name) == ("meta", "content") and "src" in value
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert "ast:true" in script  # charts are interpreted: the policy forbids evaluating strings


def test_names_from_the_data_do_nothing(tmp_path):
    names = {
        name: f"{EVIL}<b onclick=x>{{{{ 7 * 7 }}}}{name}"
        for name in ("France", "Python", "Mara Sato", "Ravi Ito")
    }
    found = results()
    found |= {"model": EVIL, "knowledge_base": f"<i>{EVIL}"}
    found["rules"][1] = found["rules"][1] | {"fact": EVIL, "implication": f"{EVIL}&amp;"}
    write_run(
        tmp_path / "evil",
        rename=names,
        results=found,
        arguments={"kb": EVIL},
        hashes={EVIL: EVIL},
        platform=EVIL,
    )
    seen = Page(write_report([tmp_path / "evil"], tmp_path / "x.html").read_text("utf-8"))
    assert len(seen.scripts) == 1
    assert "alert(1)" not in seen.scripts[0]
    assert len([json.loads(chart) for chart in seen.charts]) == 5
    assert EVIL in seen.text
    assert "{{ 7 * 7 }}" in seen.text
    assert not [item for item in seen.attributes if item[0] in ("b", "i") or item[1].startswith("on")]


def test_several_runs_get_a_section_each_and_one_library(run, tmp_path):
    other = write_run(tmp_path / "three-seeds", seeds=3)
    text = write_report([run, other], tmp_path / "both.html").read_text("utf-8")
    seen = Page(text)
    assert len(seen.scripts) == 1
    assert len(seen.charts) == 10
    assert [value for _, name, value in seen.attributes if name == "id"] == ["run-1", "run-2"]
    assert "three-seeds" in seen.text


def test_a_run_that_stopped_is_labelled_and_says_what_is_missing(tmp_path):
    folder = write_run(tmp_path / "cut", status="running", results=None)
    (folder / "scores.parquet").unlink()
    (folder / "metrics.jsonl").unlink()
    text = Page(write_report([folder], tmp_path / "x.html").read_text("utf-8")).text
    for sentence in (
        "Incomplete. This run is incomplete: its writer stopped before the end.",
        "No verdict: this run has not reported its results.",
        "The scores (scores.parquet) are missing or unreadable.",
        "No training log (metrics.jsonl): the curve cannot be drawn.",
    ):
        assert sentence in text


@pytest.mark.parametrize("name", ["scores.parquet", "metrics.jsonl", "forecast.json"])
def test_a_broken_file_costs_only_its_part(tmp_path, name):
    folder = write_run(tmp_path / "run")
    (folder / name).write_bytes(b"\x00nonsense")
    seen = Page(write_report([folder], tmp_path / "x.html").read_text("utf-8"))
    assert "Asked 80 times" in seen.text
    assert name in seen.text
    assert len(seen.charts) == {"scores.parquet": 1, "metrics.jsonl": 4, "forecast.json": 5}[name]


@pytest.mark.parametrize("content", ["[]", "{}", "[1]", '[{"solver": {}, "rules": [{}]}]', "null"])
def test_a_forecast_of_another_shape_costs_only_its_part(tmp_path, content):
    folder = write_run(tmp_path / "run")
    (folder / "forecast.json").write_text(content, encoding="utf-8")
    text = Page(write_report([folder], tmp_path / "x.html").read_text("utf-8")).text
    assert "The forecast (forecast.json) is missing or unreadable." in text
    assert "Asked 80 times" in text


def test_a_table_too_large_for_a_forecast_is_said_to_be(tmp_path):
    folder = write_run(tmp_path / "run")
    note = "the table has 20,000 distinct answers"
    (folder / "forecast.json").write_text(json.dumps([{"rules": [], "notes": [note]}]), encoding="utf-8")
    assert note in Page(write_report([folder], tmp_path / "x.html").read_text("utf-8")).text


def test_a_failed_run_says_why(tmp_path):
    folder = write_run(tmp_path / "run", status="failed", results=None, reason="the loss is not finite")
    text = Page(write_report([folder], tmp_path / "x.html").read_text("utf-8")).text
    assert "Failed. This run is incomplete: it failed. The reason given: the loss is not finite" in text


def test_undefined_numbers_and_null_controls(tmp_path):
    empty = measured(None, None, None, None, None, None)
    rule = rule_row(queries=0, p_value=None) | {"top1": empty, "mean_rank": empty}
    changes = {"results": results() | {"rules": [rule]}, "arguments": {"kb": "demo", "shuffle": True}}
    text = Page(
        write_report([write_run(tmp_path / "run", **changes)], tmp_path / "x.html").read_text("utf-8")
    ).text
    assert "No held-out query could be scored." in text
    assert "Null control." in text


def test_a_card_has_every_measure_with_its_own_p_and_what_was_learned(page):
    text = Page(page).text
    card = text[text.index("lives in → speaks") : text.index("Unwanted")]
    assert "chance 20% before 11% p 0.002 mean rank 0.09 p of the rank < 0.001" in card
    assert (
        "right for > 99% of the facts (asked 100 times) and for 100% of the bridges (asked 20 times)." in card
    )
    assert "p is how often shuffling does as well, corrected for 2 rules." in text
    assert "A rule has a verdict where at least 80% of its facts and of its bridges were learned." in text


def test_a_forecast_rate_stands_beside_what_was_measured(page, tmp_path):
    drawn = Page(page)
    card = drawn.text[drawn.text.index("lives in → speaks") : drawn.text.index("Unwanted")]
    assert "Forecast before training: 72% (41–93%), the diamond below the line." in card  # noqa: RUF001
    assert "diamond, the rate forecast before training, with its interval" in drawn.text
    assert ("svg", "aria-label", "after 91%, chance 20%, forecast 72%") in drawn.attributes
    assert "calibrated on tunes of the same model" in drawn.text
    without = reported(tmp_path, rule_row())
    assert "diamond" not in without.text


def reported(folder: Path, *rules) -> Page:
    write_run(folder / "run", results=results() | {"rules": list(rules)})
    return Page(write_report([folder / "run"], folder / "x.html").read_text("utf-8"))


def test_a_rule_that_was_not_taught_has_no_verdict(tmp_path):
    seen = reported(tmp_path, rule_row(facts_top1=0.4, bridges_top1=0.2))
    assert "beyond them, there is no verdict on the spurious rule." in seen.text
    assert "No verdict 59%" in seen.text
    assert "Of what it was trained on, the model answers 40% of the facts and 20% of the bridges" in seen.text
    assert ("article", "class", "card spurious unlearned") in seen.attributes


def test_a_run_of_version_0_1_is_read(tmp_path):
    text = reported(tmp_path, *(of_version_0_1(rule) for rule in results()["rules"])).text
    assert "p – mean rank 0.09 p of the rank < 0.001" in text  # noqa: RUF001
    assert "Taught by 20 examples a seed." in text
    assert "Measured by version 0.1: it did not record whether the rule's bridges were learned." in text
    assert "corrected" not in text


def test_candidates_that_could_not_be_scored_are_named(tmp_path):
    rule = rule_row(unscorable=[{"candidate": EVIL, "reason": "it has no tokens"}])
    seen = reported(tmp_path, rule)
    assert f"Not scored: “{EVIL}” (it has no tokens)." in seen.text
    assert len(seen.scripts) == 1


def test_the_command_line_survives_a_shell():
    passed = {
        "kb": "my data/kb.yaml",
        "seeds": [0, 1],
        "lora": None,
        "keep_model": True,
        "json": False,
        "out": "x",
    }
    assert shlex.split(command_line(manifest(passed=passed)) or "") == [
        "spillover", "audit", "my data/kb.yaml", "--seeds", "0", "--seeds", "1", "--keep-model",
    ]  # fmt: skip
    assert command_line({}) is None


def test_what_is_no_run_is_one_clear_line(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        write_report([tmp_path], tmp_path / "x.html")
    with pytest.raises(RunError, match="at least one run folder"):
        write_report([], tmp_path / "x.html")


def test_an_unwritable_place_is_one_clear_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the report .* use another --out"):
        write_report([run], tmp_path / "file" / "x.html")
