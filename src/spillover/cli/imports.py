"""The verb for data of one's own: import."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from spillover.cli.output import Json, print_json, print_line, tell
from spillover.errors import DataError


def import_(
    file: Path,
    /,
    *,
    templates: Annotated[tuple[str, ...], Parameter(name="--as", consume_multiple=True, negative="")] = (),
    rules: Annotated[tuple[str, ...], Parameter(name="--rules", consume_multiple=True, negative="")] = (),
    out: Path = Path("people.yaml"),
    suggest: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Read the records that you fine-tune on, and write the knowledge base that they hold.

    Parameters
    ----------
    file
        Chat messages, prompt / completion, Alpaca, ShareGPT or question / answer, as JSONL, JSON, CSV, TSV or
        Parquet; or RippleEdits, CounterFact, zsRE or PopQA in their own fields, which need no --as.
    templates
        How a relation is asked and answered: 'lives_in: Where does {subject} live? => In {answer}.'; several
        for several wordings.
    rules
        What may spill over: 'lives_in -> codes_in', or 'lives_in -> speaks causal' where it is wanted.
    out
        The YAML to write; its table lies beside it, and the records that match no template.
    suggest
        Propose templates and rules from the file, and write nothing.
    """
    from spillover.jobs.importing import import_records
    from spillover.jobs.suggesting import suggest_templates

    if suggest and templates:
        raise DataError("--suggest proposes what --as is given; leave one of them out")
    document = suggest_templates(file) if suggest else import_records(file, templates, rules=rules, out=out)
    if json:
        print_json(document)
    elif suggest:
        _print_suggestions(document)
    else:
        _print_import(document)
    for note in document.get("notes", ()):
        tell(f"note: {note}")
    return 0


def _print_import(document: Mapping[str, Any]) -> None:
    if document["format"] == "records":
        print_line(f"{document['matched']} of {document['records']} records match a template")
    else:
        print_line(f"{document['matched']} facts of {document['records']} records of {document['format']}")
    for name, relation in document["relations"].items():
        print_line(f"  {name}: {relation['triples']} triples")
        for wording, count in relation["wordings"].items():
            print_line(f"    {count} by {wording}")
    for entry in document["other"]["examples"]:
        print_line(f"  no template: {str(entry)[:100]}")
    print_line(f"Written: {', '.join(document['files'])}")


def _print_suggestions(document: Mapping[str, Any]) -> None:
    relations, count = document["relations"], document["records"]
    if not relations:
        print_line(
            f"No wording recurs in {count} records with other subjects and other answers; nothing to propose"
        )
    else:
        print_line(f"{document['matched']} of {count} records are in wordings that recur")
    for name, relation in relations.items():
        print_line(f"  {name}: {relation['subjects']} subjects, {relation['answers']} answers")
        for wording in relation["wordings"]:
            examples = "; ".join(f"{subject}: {answer}" for subject, answer in wording["examples"])
            print_line(f"    {wording['records']} by {shlex.quote(wording['template'])}")
            print_line(f"      {examples}")
    for rule in document["rules"]:
        print_line(f"  rule {rule['rule']}: {rule['bridges']} bridges, {rule['held_out']} held out")
    for each in document["passed_over"]:
        print_line(f"  not proposed: {each['records']} by '{each['wording']}': {each['why']}")
    if relations:
        print_line("Look them through, rename, and import:")
        print_line(document["command"])
