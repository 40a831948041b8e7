"""PopQA-OCR, the paper's sixth data set: real people, where they were born, and a sport dealt to each place.

The people are PopQA's (`akariasai/PopQA` on the hub), in groups of one size; what is random was dealt once by
a fixed seed, so that, as with the other data sets, only the bridges are left for the seed to draw.
"""

import csv
import io
import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.errors import DataError, RunError
from spillover.knowledge.aliases import things
from spillover.knowledge.faults import listed, opened, place, read_text, show
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from spillover.runs.files import read_parquet

NAME = "popqa"
"""What the knowledge base is called; with a colon and a path, it is read from that file."""

_REPOSITORY, _FILE = "akariasai/PopQA", "test.tsv"
_BORN = "place of birth"
_COLUMNS = ("subj", "prop", "obj", "subj_id", "obj_id", "o_aliases")
_SUBJECTS = 500
_GROUPS = range(5, 21)
_LEAST = 2  # people in a group: a bridge and one who is held out
_SEED = 0
_SPORTS = (
    *("archery", "badminton", "baseball", "basketball", "bowling", "boxing", "cricket", "curling"),
    *("fencing", "golf", "handball", "hockey", "judo", "polo", "rowing", "rugby"),
    *("squash", "surfing", "tennis", "volleyball"),
)
_CANDIDATES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class _Birth:
    """A row on where somebody was born."""

    subject: str
    subject_id: str
    place: str
    place_id: str
    aliases: frozenset[str]
    """Other names of the place."""


def popqa(file: Path | None = None) -> KnowledgeBase:
    """The knowledge base from a file in PopQA's schema (.tsv or .parquet), else from the hub.

    Notices say who was left out, which names of places are one, and how many people the groups hold. Raises
    DataError for a file that is not as it should be, and where the hub cannot be reached.
    """
    path = file or _fetch()
    births = list(_births(path))
    notices: list[str] = []
    people = _people(births, notices)
    groups = _groups(people, path)
    size = len(next(iter(groups.values())))
    notices.append(
        f"{size * len(groups)} people in {len(groups)} groups of {size}, "
        f"of {len(people)} whose place of birth is known"
    )
    sports = random.Random(_SEED).sample(_SPORTS, len(_SPORTS))  # noqa: S311 - a fixed order, no secret
    relations = (
        Relation(name="born_in", prompt="{subject} was born in"),
        Relation(
            name="plays",
            prompt="{subject} plays",
            paraphrases=("The sport that {subject} plays is", "{subject} competes in"),
            candidates=tuple(sports[:_CANDIDATES]),
        ),
    )
    rule = Rule(
        fact="born_in",
        implication="plays",
        kind="spurious",
        pairs=dict(zip(groups, sports, strict=False)),
        bridges=max(1, round(size / 5)),
    )
    return KnowledgeBase(
        name=NAME,
        triples=tuple(
            Triple(subject=subject, relation="born_in", answer=where)
            for where, subjects in groups.items()
            for subject in subjects
        ),
        relations={relation.name: relation for relation in relations},
        rules=(rule,),
        notices=tuple(notices),
    )


def _fetch() -> Path:
    """The hub's file, from its cache if it was fetched before."""
    from huggingface_hub import hf_hub_download

    log = logging.getLogger("huggingface_hub")  # what it warns of is in our one line
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        return Path(hf_hub_download(_REPOSITORY, _FILE, repo_type="dataset", etag_timeout=5))
    except Exception as error:  # off line, the hub client raises its HTTP library's own errors
        raise DataError(
            f"{_REPOSITORY} cannot be fetched from the hub ({type(error).__name__}); "
            f"give a copy of its {_FILE} as {NAME}:PATH"
        ) from error
    finally:
        log.setLevel(level)


def _births(path: Path) -> Iterator[_Birth]:
    """The rows on places of birth."""
    for where, row in _rows(path):
        missing = [name for name in _COLUMNS if row.get(name) in (None, "")]
        if missing:
            raise DataError(f"{where}: there is no {listed(missing)}; give the table with PopQA's columns")
        if row["prop"] == _BORN:
            yield _Birth(
                subject=str(row["subj"]).strip(),
                subject_id=str(row["subj_id"]),
                place=str(row["obj"]).strip(),
                place_id=str(row["obj_id"]),
                aliases=_names(row["o_aliases"], where),
            )


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every record and where it is."""
    if path.suffix.lower() == ".parquet":
        for number, row in enumerate(_read_parquet(path), start=1):
            yield place(path, number), row
        return
    records = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
    try:
        for row in records:
            yield place(path, records.line_num), row
    except csv.Error as error:
        raise DataError(f"{place(path, records.line_num)}: {error}") from error


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    opened(path).close()  # the same complaints about files that are not there or empty
    try:
        return read_parquet(path).to_pylist()
    except RunError as error:
        raise DataError(f"{path}: not a Parquet table: {error}") from error


def _names(text: Any, where: str) -> frozenset[str]:
    """A list in text, such as `["New York", "NYC"]`."""
    try:
        match json.loads(text):
            case list() as names if all(isinstance(name, str) for name in names):
                return frozenset(name.strip() for name in names)
    except (TypeError, ValueError, RecursionError):
        pass
    raise DataError(f"{where}: o_aliases are {show(text)}; give a JSON list of texts")


def _people(births: Sequence[_Birth], notices: list[str]) -> dict[str, str]:
    """subject -> place, each by a name that is only its own; who has none is left out."""
    names = _place_names(births, notices)
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for birth in births:
        if birth.place_id in names:
            found[birth.subject].add((birth.subject_id, names[birth.place_id]))
    twice = [subject for subject, births in found.items() if len(births) > 1]
    _leave_out(notices, "people who share a name or have two places of birth", twice)
    return {subject: where for subject, births in found.items() if len(births) == 1 for _, where in births}


def _place_names(births: Sequence[_Birth], notices: list[str]) -> dict[str, str]:
    """place_id -> the one name that the place and its aliases go by, without those that share a name."""
    called: dict[str, Counter[str]] = defaultdict(Counter)
    aliases: dict[str, set[str]] = defaultdict(set)
    for birth in births:
        called[birth.place_id][birth.place] += 1
        aliases[birth.place_id] |= birth.aliases
    places = list(things(called, aliases))
    for one in places:
        if one.others:
            others = listed(map(show, one.others))
            notices.append(f"{others}: the same place as {show(one.name)}, and asked for so")
    times = Counter(one.name for one in places)
    _leave_out(notices, "places that share a name", [name for name, number in times.items() if number > 1])
    return {identity: one.name for one in places if times[one.name] == 1 for identity in one.ids}


def _leave_out(notices: list[str], what: str, names: Sequence[str]) -> None:
    if names:
        notices.append(f"left out, {what}: {listed(show(name) for name in sorted(names))}")


def _groups(people: Mapping[str, str], path: Path) -> dict[str, list[str]]:
    """place -> its people, equally many; of all numbers of groups the one that holds the most people."""
    born: dict[str, list[str]] = defaultdict(list)
    for subject, where in people.items():
        born[where].append(subject)
    largest = sorted(born, key=lambda where: (-len(born[where]), where))
    sizes = {
        count: min(_SUBJECTS // count, len(born[largest[count - 1]]))
        for count in _GROUPS
        if count <= len(largest)
    }
    count = max(sizes, key=lambda count: (count * sizes[count], -count), default=0)
    if not count or sizes[count] < _LEAST:
        raise DataError(
            f"{path}: {len(largest)} places of birth, too few with {_LEAST} people or more; "
            f"{_GROUPS[0]} are needed"
        )
    rng = random.Random(_SEED)  # noqa: S311 - a fixed draw, no secret
    return {where: sorted(rng.sample(sorted(born[where]), sizes[count])) for where in largest[:count]}
