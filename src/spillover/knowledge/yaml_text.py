"""YAML as text alone -> dicts, lists and strings, each with its line.

No tag is followed and no type is guessed: `no`, `7` and `2024-01-01` stay the words they are, and
`!!python/object` makes nothing.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spillover.errors import DataError
from spillover.knowledge.faults import place, show

_LONGEST = 1 << 22  # characters; PyYAML takes microseconds and a kilobyte for each few of them
_MOST = 200_000  # entries, aliases counted as often as they stand for something


@dataclass(frozen=True, kw_only=True)
class Places:
    """File and line of an entry, such as `where("rules", 0, "fact")`, or of the nearest one around it."""

    path: Path
    root: yaml.Node | None
    _entries: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = field(default_factory=dict)
    """By mapping, its keys and values by name: made once, since a search would cost the square of their
    number."""

    def __call__(self, *steps: str | int) -> str:
        """The place as messages name it."""
        node = mark = self.root
        for step in steps:
            entry = self._entry(node, step)
            if entry is None:
                break
            mark, node = entry
        return place(self.path, mark.start_mark.line + 1 if mark else None)

    def _entry(self, node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
        """What carries the line of an entry of the node, and what it holds; None where there is none."""
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._entries:
                self._entries[id(node)] = {key.value.strip(): (key, value) for key, value in node.value}
            return self._entries[id(node)].get(str(step))
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            return node.value[step], node.value[step]
        return None


def read_yaml(text: str, path: Path, what: str) -> tuple[Any, Places]:
    """The document that `text`, the content of `path`, holds, None where it is empty, and its places.

    `what` the document is, is said in complaints. Raises DataError, with file and line, for what is no YAML,
    too large or too deep, and for keys that are no text or stand there twice.
    """
    if len(text) > _LONGEST:
        raise DataError(
            f"{path}: {what} has {len(text):,} characters of YAML, allowed are {_LONGEST:,}; "
            "put what is long into a table"
        )
    try:
        root = _compose(text, path, what)
        entries = None if root is None else _plain(root, path, what, {})[0]
    except RecursionError:
        raise DataError(f"{path}: nested too deep; {what} needs four levels") from None
    return entries, Places(path=path, root=root)


class _Loader(yaml.BaseLoader):
    """Ends where a document has too many entries, before they are all in memory."""

    entries = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.entries += 1
        if self.entries > 2 * _MOST:  # keys and values
            raise _TooMany
        return super().compose_node(parent, index)


class _TooMany(Exception):
    pass


def _compose(text: str, path: Path, what: str) -> yaml.Node | None:
    """The document's tree, which knows its lines."""
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise DataError(
            f"{place(path, line)}: not readable as YAML ({error.problem}); mend the syntax"
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DataError(
            f"{place(path, line)}: character {show(chr(error.character))} is not allowed in YAML; remove it"
        ) from None
    except _TooMany:
        raise _too_many(path, what) from None


def _plain(node: yaml.Node, path: Path, what: str, done: dict[int, tuple[Any, int]]) -> tuple[Any, int]:
    """The node as dicts, lists and strings, and how many entries it stands for; a node reached by many
    aliases is built once, and counted each time, because whoever looks at them all meets it each time.
    """
    if id(node) in done:
        return done[id(node)]
    plain: Any
    size = 1
    if isinstance(node, yaml.MappingNode):
        plain = {}
        for key, value in node.value:
            where = place(path, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                raise DataError(f"{where}: a list or mapping is used as a key; use a word")
            name = key.value.strip()
            if name in plain:
                raise DataError(f"{where}: key {show(name)} stands there twice; keep one")
            plain[name], its = _plain(value, path, what, done)
            size += its
    elif isinstance(node, yaml.SequenceNode):
        plain = []
        for value in node.value:
            item, its = _plain(value, path, what, done)
            plain.append(item)
            size += its
    else:
        plain = node.value.strip()
    if size > _MOST:
        raise _too_many(path, what)
    done[id(node)] = plain, size
    return plain, size


def _too_many(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what} has more than {_MOST:,} entries of YAML, aliases counted as what they stand for; "
        "put what is long into a table"
    )
