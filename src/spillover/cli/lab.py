"""The verbs for the one-layer lab: symbolic, reproduce."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from spillover.cli.executors import Where, executor
from spillover.cli.output import Bars, Json, print_json, print_line, print_rich, tell
from spillover.errors import LabError

_WORLD, _MODEL, _TRAINING = (
    Group(name, sort_key=place) for place, name in enumerate(("World", "Model", "Training"), 1)
)
_SEVERAL = Parameter(
    group=_MODEL,
    negative="",
    consume_multiple=True,
    show_default=lambda values: " ".join(map(str, values)),
)
_LANGUAGE_MODELS = Group("Language models", sort_key=4)
_OF_LLMS = Parameter(group=_LANGUAGE_MODELS, show_default=False)
_SEVERAL_OF_LLMS = Parameter(group=_LANGUAGE_MODELS, negative="", consume_multiple=True, show_default=False)


def symbolic(
    *,
    groups: Annotated[int, Parameter(group=_WORLD)] = 20,
    subjects: Annotated[int, Parameter(group=_WORLD)] = 4,
    bridges: Annotated[int, Parameter(group=_WORLD)] = 1,
    exceptions: Annotated[int, Parameter(group=_WORLD)] = 0,
    noise: Annotated[int, Parameter(group=_WORLD)] = 5,
    length: Annotated[int, Parameter(group=_WORLD)] = 16,
    ov: Annotated[tuple[Literal["factorized", "merged"], ...], _SEVERAL] = ("factorized",),
    d_h: Annotated[tuple[int, ...], _SEVERAL] = (128,),
    attention: Annotated[Literal["linear", "softmax"], Parameter(group=_MODEL)] = "linear",
    seeds: Annotated[int, Parameter(group=_TRAINING)] = 8,
    steps: Annotated[int, Parameter(group=_TRAINING)] = 2000,
    lr: Annotated[float, Parameter(group=_TRAINING)] = 5e-3,
    optimizer: Annotated[Literal["adamw", "gd", "normalized_gd"], Parameter(group=_TRAINING)] = "adamw",
    gradient: Annotated[Literal["sampled", "exact"], Parameter(group=_TRAINING)] = "sampled",
    device: Annotated[str, Parameter(group=_TRAINING)] = "cpu",
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Train one-layer models on symbolic facts and show what they answer beyond them.

    Parameters
    ----------
    groups
        Answers of the fact, and of the implication.
    subjects
        Subjects of a group.
    bridges
        Subjects of a group whose implication is trained, too; the others' is asked.
    exceptions
        Bridges of a group that break the rule: they are told other groups' answers.
    noise
        Kinds of noise token.
    length
        Tokens of a sequence: a subject, a relation, noise, end.
    ov
        W_OV as a product of two matrices, or merged into one; give both to compare.
    d_h
        Columns of the two matrices; several train side by side.
    attention
        Linear, or softmax.
    seeds
        How many runs of every model: a count, where an audit takes a list.
    steps
        Updates of the weights.
    lr
        Learning rate.
    optimizer
        AdamW has weight decay 0.03, gradient descent none.
    gradient
        Of sampled batches, or of the expected loss.
    device
        cpu or cuda.
    out
        The run folder, with the numbers along the way and the weights; an unfinished run in it goes on where
        it was stopped.
    """
    with Bars() as bars:
        from spillover.jobs.lab import symbolic as train_symbolic

        document = train_symbolic(
            world={
                "groups": groups,
                "subjects": subjects,
                "bridges": bridges,
                "exceptions": exceptions,
                "noise": noise,
                "length": length,
            },
            ov=ov,
            d_h=d_h,
            attention=attention,
            optimizer={
                "rule": optimizer,
                "learning_rate": lr,
                "weight_decay": 0.03 if optimizer == "adamw" else 0.0,
            },
            seeds=seeds,
            training={"steps": steps, "gradient": gradient, "device": device},
            out=out,
            progress=bars,
        )
    if json:
        print_json(document)
        return 0
    from spillover.report.lab import lab_table

    print_rich(lab_table(document))
    return 0


def reproduce(
    name: str | None = None,
    /,
    *,
    out: Path | None = None,
    fresh: Annotated[bool, Parameter(negative="")] = False,
    list: Annotated[bool, Parameter(negative="")] = False,
    models: Annotated[tuple[str, ...], _SEVERAL_OF_LLMS] = (),
    data: Annotated[tuple[str, ...], _SEVERAL_OF_LLMS] = (),
    seeds: Annotated[tuple[int, ...], _SEVERAL_OF_LLMS] = (),
    lora: Annotated[int | None, _OF_LLMS] = None,
    recipe: Annotated[Literal["ours", "paper"] | None, _OF_LLMS] = None,
    keep_model: Annotated[bool, Parameter(group=_LANGUAGE_MODELS, negative="", show_default=False)] = False,
    on: Annotated[Where, _OF_LLMS] = "local",
    workers: Annotated[int | None, _OF_LLMS] = None,
    json: Json = False,
) -> int:
    """Make a figure or table or check a theorem of the paper anew, and say what holds.

    Parameters
    ----------
    name
        One of those that --list shows, or all (those of the one-layer model).
    out
        The run folder, with chart and table; runs/NAME if not given. With all: the folder of the folders.
    fresh
        Train again what is finished or was stopped.
    list
        Show the names and what they are about.
    models
        Short names, hub ids or folders (table-1: the paper's five).
    data
        Built-in knowledge bases or files (table-1: the paper's five).
    seeds
        A tune for each (0 1 2).
    lora
        Rank of LoRA adapters; without it every parameter is tuned.
    recipe
        ours tunes until it is learned; paper: 8 epochs at 1e-5.
    keep_model
        Keep the tuned weights in the run folders.
    on
        local (this machine) or ray (a Ray cluster).
    workers
        Cells at a time (1).
    """
    from spillover.reproduce import FIGURES, LANGUAGE_MODELS, load

    if list:
        return _list(FIGURES | LANGUAGE_MODELS, json)
    if name is None:
        raise LabError(f"say what to reproduce: {', '.join([*FIGURES, *LANGUAGE_MODELS])}, or all")
    given = {"models": models, "data": data, "seeds": seeds, "lora": lora, "recipe": recipe}
    given = {option: value for option, value in given.items() if value not in ((), None)}
    given |= {"keep_model": True} if keep_model else {}
    if name in LANGUAGE_MODELS:
        if fresh:
            raise LabError(f"{name} has no --fresh: its cells are kept; use another --out")
        return _with_language_models(name, given, on, workers, out, json)
    if given or workers or on != "local":
        raise LabError(
            "--models, --data, --seeds, --lora, --recipe, --keep-model, --on and --workers are for "
            f"{', '.join(LANGUAGE_MODELS)}, not {name}"
        )
    root = out or Path("runs")
    if name == "all":
        folders = {figure: root / figure for figure in FIGURES}
    else:
        if name not in FIGURES:
            load(name)
        folders = {name: out or root / name}
    documents = []
    with Bars() as bars:
        from spillover.reproduce.save import reproduce as reproduce_into

        for figure, folder in folders.items():
            again = root if name == "all" else folder
            documents.append(reproduce_into(load(figure), folder, fresh=fresh, out=again, progress=bars))
    if json:
        print_json(documents if name == "all" else documents[0])
        return 0
    from spillover.reproduce.tables import checks_table

    for document in documents:
        print_rich(checks_table(document))
    return 0


def _with_language_models(
    name: str, given: dict[str, Any], on: Where, workers: int | None, out: Path | None, as_json: bool
) -> int:
    with redirect_stdout(sys.stderr), Bars() as bars:  # Ray prints there what befell its nodes
        from spillover.jobs.language_models import reproduce_study

        document = reproduce_study(name, **given, executor=executor(on, workers), out=out, progress=bars)
    if as_json:
        print_json(document)
    else:
        from spillover.reproduce import load_study
        from spillover.reproduce.columns import sheets_of
        from spillover.reproduce.tables import checks_table

        study = load_study(name)
        print_rich(sheets_of(study.columns, study.shown(document["rows"])))
        print_rich(checks_table(document))
    for audit in document["failed"]:
        tell(f"failed: {audit['model']}, {audit['knowledge_base']}: {audit['failed']}")
    return 2 if document["failed"] else 0


def _list(figures: dict[str, str], as_json: bool) -> int:
    if as_json:
        print_json([{"name": name, "about": about} for name, about in figures.items()])
        return 0
    for name, about in figures.items():
        print_line(f"{name:<12} {about}")
    return 0
