"""A sweep: what a spec spans, what is shared, what is reported, and that it goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spillover.cells import tune as cells_tune
from spillover.cells.apart import Processes
from spillover.cells.folder import store_beside
from spillover.cli import audits
from spillover.errors import DataError, RunError, SpilloverError, TrainingError
from spillover.interventions.freeze import Freeze
from spillover.interventions.ignore_topk import IgnoreTopk
from spillover.jobs.audit import audit
from spillover.jobs.grid import read_grid
from spillover.jobs.sweep import sweep, workers
from spillover.llm.settings import FineTuneConfig
from spillover.report.sweep import label_parts
from spillover.runs.record import read_run
from tests.jobs.people import run_cli


@pytest.fixture
def spec(tiny: str, here: Path) -> Path:
    """Two audits of two seeds each: two untuned cells would be needed, and one is enough."""
    text = f"kb: people.yaml\nmodel: {tiny}\nseeds: [0, 1]\nepochs: 1\nbatch_size: 24\nlora: [null, 2]\n"
    (here / "ranks.yaml").write_text(text, encoding="utf-8")
    return here / "ranks.yaml"


def cells(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_a_sweep_is_its_audits_and_shares_what_they_share(spec: Path, tiny: str) -> None:
    document = sweep(spec)
    assert document["cells"] == {"done": 5, "failed": 0}
    assert len(cells(Path("runs/cells"))) == 5
    assert [entry["varied"] for entry in document["audits"]] == [{"lora": None}, {"lora": 2}]
    settings = FineTuneConfig(epochs=1, batch_size=24, lora=2)
    alone = audit("people.yaml", model=tiny, seeds=[0, 1], settings=settings, out="runs/alone")
    assert len(cells(Path("runs/cells"))) == 5, "the audit found every cell done"
    assert document["audits"][1]["rules"] == alone["rules"]
    view = read_run("runs/ranks")
    assert (view.status, view.results) == ("complete", document)
    assert read_run(Path("runs/ranks") / document["audits"][0]["run"]).status == "complete"
    assert (Path("runs/ranks") / "report.html").read_text("utf-8").count("<h2") >= 2
    assert sweep(spec) == document, "a finished sweep is read"


def test_a_failing_cell_stops_no_other_and_is_tried_again(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cells_tune.finetune

    def refuse_adapters(model, tokenizer, taught, settings, **options):
        if settings.lora and settings.seed == 1:
            raise TrainingError("no adapters today")
        return whole(model, tokenizer, taught, settings, **options)

    monkeypatch.setattr(cells_tune, "finetune", refuse_adapters)
    document = sweep(spec)
    assert document["cells"] == {"done": 4, "failed": 1}
    assert document["audits"][1]["failed"] == "no adapters today"
    assert "rules" in document["audits"][0]
    assert read_run("runs/ranks").status == "failed"
    monkeypatch.setattr(cells_tune, "finetune", whole)
    again = sweep(spec)
    assert again["cells"] == {"done": 5, "failed": 0}
    assert again["audits"][0]["rules"] == document["audits"][0]["rules"]
    assert read_run("runs/ranks").status == "complete"


def test_the_command_line(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("sweep", str(spec), "--workers", "2") == 0
    printed = capsys.readouterr().out
    assert "2 audits of 5 cells" in printed
    assert "lora: none" in printed
    assert max(map(len, printed.splitlines())) <= 80
    run_cli("sweep", str(spec), "--json")
    assert len(json.loads(capsys.readouterr().out)["audits"]) == 2
    run_cli("runs")
    assert "ranks" in capsys.readouterr().out


def test_files_are_meant_from_where_the_spec_is(tmp_path: Path) -> None:
    (tmp_path / "people.yaml").touch()
    (tmp_path / "spec.yaml").write_text("kb: [people.yaml, demo]", encoding="utf-8")
    grid = read_grid(tmp_path / "spec.yaml")
    assert [point.kb for point in grid.points] == [str(tmp_path / "people.yaml"), "demo"]
    assert (grid.name, grid.seeds, grid.points[0].model) == ("spec", (0,), "smollm2-135m")
    assert grid.points[0].settings == replace(FineTuneConfig())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"unknown key 'epoch'; allowed are name, kb, .*; did you mean 'epochs'\?"),
        ("[1]", r"a sweep is a mapping of name, kb, .*; got \[1\]"),
        ("kb: []", "kb is an empty list; give a value, or leave the key out"),
        ("lora: eight", "settings.lora: .*valid integer.*, got 'eight'"),
        ("lora: 0", "LoRA rank must be positive, got 0"),
        ("seeds: x", "seeds: .*, got 'x'"),
        ("kb: {a: b}", "kb: .*valid string.*, got {'a': 'b'}"),
        ("a: [", "not readable as YAML"),
        ("kb: !!python/object:os.system ls", "not readable as YAML"),
        (
            f"lora: {list(range(1, 40))}\nbatch_size: {list(range(1, 40))}",
            "the grid has more than 1,000 points",
        ),
        ("seeds: [0, 0]", "seeds must be distinct"),
        ("lora: 1\nlora: 2", "spec.yaml:2: key 'lora' stands there twice; keep one"),
        ("name: 2026-99-99", "not readable as YAML .month must be in 1..12.; write it as plain text"),
        (f"lora: 1{'0' * 5000}", "not readable as YAML"),
        (f"shuffle: 0x{'f' * 5000}", r"shuffle: .*, got 0xf{38}\.\.\."),
        (f"lora: -0x{'f' * 5000}", "spec.yaml: settings: .*4300 digits"),
        ("interventions: nothing", "spec.yaml: interventions: there is no intervention 'nothing'; it can be"),
        ("interventions: [[freeze]]", "spec.yaml: interventions: freeze: give layers="),
        (
            "interventions: [freeze: layers=0]",
            "spec.yaml: interventions: .* null; got {'freeze': 'layers=0'}",
        ),
        ("interventions: [[[freeze]]]", "spec.yaml: interventions: .* null; got "),
        ("interventions: [8]", "spec.yaml: interventions: each value is NAME:knob=value, .*; got 8"),
        ("interventions: []", "interventions is an empty list"),
        (
            "interventions: [null, [factorized-ov, factorized-ov]]",
            "spec.yaml: interventions: factorized-ov is there twice",
        ),
        (
            "lora: [4]\ninterventions: [lora:rank=2]",
            "spec.yaml: interventions: lora: the settings have adapters of rank 4",
        ),
        ("shuffle: !!bool maybe", "not readable as YAML .*maybe"),
        ("epochs: !!int ''", "not readable as YAML"),
        ("name: !!timestamp soon", "not readable as YAML"),
        ("kb: " + "[" * 5000, "nested too deep; a sweep needs four levels"),
        (f"kb: {'a' * 5000}", "is neither a file nor a built-in"),
        ("kb: nowhere.yaml", "file not found"),
    ],
)
def test_a_bad_spec_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpilloverError, match=message) as caught:
        sweep(tmp_path / "spec.yaml", out=tmp_path / "run")
    assert isinstance(caught.value, DataError | TrainingError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_interventions_vary_one_by_one_and_several_at_once(
    tiny: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        f"kb: people.yaml\nmodel: {tiny}\nepochs: 1\nbatch_size: 24\n"
        "interventions: [null, 'freeze:layers=0', ['freeze:layers=0', 'ignore-topk:percent=50'], "
        "'ignore-topk:percent=0']\n"
    )
    (here / "acting.yaml").write_text(text, encoding="utf-8")
    freeze, drop = Freeze(layers="0"), IgnoreTopk(percent=50)
    acting = [point.interventions for point in read_grid(here / "acting.yaml").points]
    assert acting == [(), (freeze,), (freeze, drop), (IgnoreTopk(percent=0),)]
    assert run_cli("sweep", "acting.yaml", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cells"] == {"done": 4, "failed": 0}, "untuned, plain (twice), frozen, both"
    names = [entry.get("interventions") for entry in document["audits"]]
    assert names[:2] == [None, ["freeze:layers=0,modules=all"]]
    alone = audit(
        "people.yaml",
        model=tiny,
        settings=FineTuneConfig(epochs=1, batch_size=24),
        interventions=[freeze, drop],
        out="runs/alone",
    )
    assert document["audits"][2]["facts"] == alone["facts"]
    labels = [label_parts(entry)[-1] for entry in document["audits"]]
    assert labels == [
        "interventions: none",
        "interventions: freeze:layers=0",
        "interventions: freeze:layers=0 + ignore-topk:percent=50",
        "interventions: ignore-topk:percent=0",
    ]
    assert len(cells(Path("runs/cells"))) == 4, "the audit found every cell done"


def test_a_changed_grid_is_refused_and_the_change_is_named(spec: Path) -> None:
    sweep(spec)
    spec.write_text(spec.read_text("utf-8").replace("[null, 2]", "[null, 3]"), encoding="utf-8")
    with pytest.raises(RunError, match=r"argument 'grid\.lora' was \[None, 2\], now \[None, 3\]"):
        sweep(spec)


def test_an_audit_is_told_from_the_others_in_words() -> None:
    varied = {"kb": "demo", "lora": None, "learning_rate": 1e-3, "shuffle": True}
    parts = label_parts({"knowledge_base": "demo", "varied": varied})
    assert parts == ["demo", "lora: none", "learning rate: 0.001", "shuffle: yes"]


def test_workers() -> None:
    assert isinstance(workers(2), Processes)
    with pytest.raises(RunError, match="workers must be at least 1, got 0"):
        workers(0)


def test_what_a_cluster_prints_is_not_in_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def print_and_end(*_: object, **__: object) -> dict[str, object]:
        print("(raylet) a node was lost")
        return {"audits": []}

    monkeypatch.setattr("spillover.jobs.sweep.sweep", print_and_end)
    assert audits.sweep(tmp_path / "spec.yaml", json=True) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"audits": []}
    assert "a node was lost" in err


@pytest.mark.parametrize(
    ("name", "folder"),
    [(r"../../x\n\e[31m\u202e", "x-31m"), ("/etc/x", "etc-x"), ("..", "unnamed"), ("", "unnamed")],
)
def test_a_name_never_leads_out_of_runs(tiny: str, here: Path, name: str, folder: str) -> None:
    text = f'name: "{name}"\nkb: people.yaml\nmodel: {tiny}\nepochs: 1\nbatch_size: 24\n'
    (here / "grid.yaml").write_text(text, encoding="utf-8")
    before = {path for path in here.parent.rglob("*") if here not in path.parents}
    document = sweep("grid.yaml")
    assert document["run"] == f"runs/{folder}"
    assert cells(Path("runs")) == {"cells", folder}
    assert {path for path in here.parent.rglob("*") if here not in path.parents} == before


@pytest.mark.parametrize("out", [None, "runs/cells", "runs/new/../cells"])
def test_the_place_of_the_cells_is_no_run_folder(spec: Path, out: str | None) -> None:
    spec = spec.rename("cells.yaml")
    with pytest.raises(RunError, match="is where the runs beside it share their cells; use another name"):
        sweep(spec, out=out)
    with pytest.raises(RunError, match="share their cells"):
        store_beside(Path("a/cells"))
    assert store_beside(Path("runs/cells-of-mine")) == Path("runs/cells").absolute()
    assert not Path("runs").exists()
