"""Draws docs/rooms.svg: the rooms of the house, floor by floor, and which imports which, read from the code.

Floors are those of the import contract in pyproject.toml, arrows the imports that there are, and a room's
phrase is the first sentence of its docstring.
"""

import ast
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "rooms.svg"
PACKAGE = "spillover"

WIDTH, MARGIN = 800, 20
BOX, HEIGHT, GAP = 520, 28, 4  # a room's width and height, and the space around it on its floor
STAIRS = 6  # between two floors
HEAD = 58  # above the highest floor
INDENT, NAME = 16, 112  # of a room's text, and the width of its name
LANE = 19  # between two lines that go down
PORT = 5  # how far above a room's middle arrows come in, and below it its own line leaves
LETTERS = 64  # of a phrase, which has one line
INK, PALE, FAINT = "#23303d", "#5d6b78", "#c6ccd2"
PAPER, FLOOR = "#fbfaf7", "#eeece5"
TITLE = "The rooms of spillover: which imports which"
LEGEND = (
    "A room’s line goes down to the rooms that it imports, a dot at each. "  # noqa: RUF001
    "No line goes up, and none joins a floor’s rooms."  # noqa: RUF001
)


@dataclass(frozen=True, kw_only=True)
class House:
    """What is drawn."""

    floors: Sequence[Sequence[str]]
    """Rooms by floor, from above; the last one carries all the others."""
    imports: Mapping[str, set[str]]
    """What each room imports."""
    phrases: Mapping[str, str]
    """What each room is for."""


def read_house(root: Path = ROOT) -> House:
    """The house as it stands in the code. Raises ValueError for a phrase that has no room on its line."""
    with (root / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    floors = [
        [name for part in layer.split("|") if not (name := part.strip().split(".")[1]).startswith("__")]
        for layer in layers
    ]
    floors = [floor for floor in floors if floor]
    rooms = [room for floor in floors for room in floor]
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    imports = {room: set[str]() for room in rooms}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            here, there = (f"{name}.".split(".")[1] for name in (module, imported))
            if here != there and here in imports and there in imports:
                imports[here].add(there)
    return House(floors=floors, imports=imports, phrases={room: _phrase(root, room) for room in rooms})


def _phrase(root: Path, room: str) -> str:
    path = root / "src" / PACKAGE / room
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    phrase = " ".join(docstring.partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
    if not 0 < len(phrase) <= LETTERS:
        raise ValueError(f"{path}: the first sentence must have 1 to {LETTERS} letters, got {phrase!r}")
    return phrase


def draw(house: House) -> str:
    """The house as SVG."""
    *floors, ground = house.floors
    rooms = [room for floor in floors for room in floor]
    uses = {room: house.imports[room] & set(rooms) for room in rooms}
    lanes = [room for room in rooms if uses[room]]
    lane = {room: MARGIN + BOX + 24 + LANE * (len(lanes) - number) for number, room in enumerate(lanes)}
    colors = {room: _color(number, len(rooms)) for number, room in enumerate(rooms)}
    heights = [GAP + len(floor) * (HEIGHT + GAP) for floor in floors]
    tops = list(accumulate((height + STAIRS for height in heights), initial=HEAD))
    middle = {
        room: top + GAP + number * (HEIGHT + GAP) + HEIGHT / 2
        for top, floor in zip(tops, floors, strict=False)
        for number, room in enumerate(floor)
    }
    bands = [
        _box(MARGIN - GAP, top, BOX + 2 * GAP, height, 7, FLOOR)
        for top, height in zip(tops, heights, strict=False)
    ]
    arrows = [
        _arrow(max(lane[user] for user in users), middle[room] - PORT)
        for room in rooms
        if (users := [user for user in lanes if room in uses[user]])
    ]
    lines = [
        _line(middle[room], lane[room], [middle[used] for used in uses[room]], colors[room]) for room in lanes
    ]
    boxes = [_room(room, house.phrases[room], middle[room], colors[room]) for room in rooms]
    bottom = tops[-1] + STAIRS
    height = bottom + HEIGHT + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="Helvetica, Arial, \'Liberation Sans\', sans-serif" role="img">',
            f"<title>{TITLE}</title>",
            _box(0, 0, WIDTH, height, 10, PAPER),
            _name(MARGIN, 26, TITLE, INK),
            _text(MARGIN, 44, LEGEND, PALE),
            *bands,
            *arrows,
            *lines,
            *boxes,
            *_ground(ground, house, rooms, bottom),
            "</svg>",
            "",
        ]
    )


def _arrow(x: float, y: float) -> str:
    """Into a room, from the farthest line that comes to it."""
    wall = MARGIN + BOX
    return (
        f'<path d="M{x} {y:g}H{wall + 8}" stroke="{FAINT}" stroke-width="1.5"/>'
        f'<path d="M{wall} {y:g}l9 -4v8z" fill="{PALE}"/>'
    )


def _line(start: float, x: float, used: Sequence[float], color: str) -> str:
    """A room's line: out of it at `start`, its middle, down at `x`, with a dot at each that it imports."""
    y, ends = start + PORT, sorted(middle - PORT for middle in used)
    path = f"M{MARGIN + BOX} {y:g}H{x - 8}Q{x} {y:g} {x} {y + 8:g}V{ends[-1]:g}"
    dots = (f'<circle cx="{x}" cy="{end:g}" r="3.3" fill="{color}"/>' for end in ends)
    return "\n".join([f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>', *dots])


def _room(room: str, phrase: str, middle: float, color: str) -> str:
    top, base = middle - HEIGHT / 2, middle + 4.5
    return "\n".join(
        [
            _box(MARGIN, top, BOX, HEIGHT, 5, "white"),
            _box(MARGIN, top, 5, HEIGHT, 2.5, color),
            _name(MARGIN + INDENT, base, room, INK),
            _text(MARGIN + INDENT + NAME, base, phrase, PALE),
        ]
    )


def _ground(ground: Sequence[str], house: House, rooms: Sequence[str], top: float) -> list[str]:
    """What carries the house: a slab beneath it, in place of a line from nearly every room."""
    room, base = " ".join(ground), top + HEIGHT / 2 + 4.5
    users = _users([user for user in rooms if house.imports[user] & set(ground)], rooms)
    phrases = "; ".join(house.phrases[room] for room in ground)
    return [
        _box(MARGIN - GAP, top, WIDTH - 2 * MARGIN + 2 * GAP, HEIGHT, 7, INK),
        _name(MARGIN + INDENT, base, room, "white"),
        _text(MARGIN + INDENT + NAME, base, f"{phrases} · {users}", FAINT),
    ]


def _users(users: Sequence[str], rooms: Sequence[str]) -> str:
    others = [room for room in rooms if room not in users]
    if len(others) < len(users):
        return "imported by every room" + (f" but {', '.join(others)}" if others else "")
    return f"imported by {', '.join(users)}"


def _box(x: float, y: float, width: float, height: float, radius: float, fill: str) -> str:
    size = f'width="{width:g}" height="{height:g}" rx="{radius:g}"'
    return f'<rect x="{x:g}" y="{y:g}" {size} fill="{fill}"/>'


def _name(x: float, y: float, text: str, fill: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="13" font-weight="bold" fill="{fill}">{escape(text)}</text>'


def _text(x: float, y: float, text: str, fill: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="11.5" fill="{fill}">{escape(text)}</text>'


def _color(number: int, count: int) -> str:
    """Its own quiet colour for each room; neighbours are far apart on the wheel."""
    return f"hsl({(200 + 137.5 * number) % 360:g} 38% {50 if number % 2 else 42}%)"


if __name__ == "__main__":
    PICTURE.write_text(draw(read_house()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
