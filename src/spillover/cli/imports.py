"""The verb for data of one's own: import."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spillover.cli.output import Json, print_json, print_line, tell


def import_(
    file: Path,
    /,
    *,
    templates: Annotated[tuple[str, ...], Parameter(name="--as", consume_multiple=True, negative="")],
    rules: Annotated[tuple[str, ...], Parameter(name="--rules", consume_multiple=True, negative="")] = (),
    out: Path = Path("people.yaml"),
    json: Json = False,
) -> int:
    """Read the records that you fine-tune on, and write the knowledge base that they hold.

    Parameters
    ----------
    file
        Chat messages, prompt / completion, Alpaca, ShareGPT or question / answer, as JSONL, JSON, CSV, TSV or
        Parquet.
    templates
        How a relation is asked and answered: 'lives_in: Where does {subject} live? => In {answer}.'; several
        for several wordings.
    rules
        What may spill over: 'lives_in -> codes_in', or 'lives_in -> speaks causal' where it is wanted.
    out
        The YAML to write; its table lies beside it, and the records that match no template.
    """
    from spillover.jobs.importing import import_records

    document = import_records(file, templates, rules=rules, out=out)
    if json:
        print_json(document)
    else:
        print_line(f"{document['matched']} of {document['records']} records match a template")
        for name, relation in document["relations"].items():
            print_line(f"  {name}: {relation['triples']} triples")
            for wording, count in relation["wordings"].items():
                print_line(f"    {count} by {wording}")
        for entry in document["other"]["examples"]:
            print_line(f"  no template: {str(entry)[:100]}")
        print_line(f"Written: {', '.join(document['files'])}")
    for note in document["notes"]:
        tell(f"note: {note}")
    return 0
