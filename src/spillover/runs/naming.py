"""Names of run folders: plain, whatever data and model are called, and never the same one twice."""

import re
from pathlib import Path

from spillover.errors import RunError

_BYTES = 80  # of a part of a name; a file system takes 255 for the whole


def new_folder(root: Path, *parts: str) -> Path:
    """Make the folder `root/PART-PART-...`, with -2, -3, ... after it where the name is taken.

    Whoever makes it has it: two processes never get the same one. Raises RunError where it cannot be made.
    """
    name = "-".join(map(slug, parts))
    folder, number = root / name, 1
    try:
        root.mkdir(parents=True, exist_ok=True)
        while not _made(folder):
            number += 1
            folder = root / f"{name}-{number}"
    except OSError as error:
        raise RunError(f"cannot make a run folder in {root}: {error.strerror}; use --out") from error
    return folder


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def slug(text: str) -> str:
    """The text's letters, digits, dots and underscores, with one dash for whatever else lies between them."""
    plain = re.sub(r"[^\w.]+", "-", text).encode()[:_BYTES].decode(errors="ignore")
    return plain.strip("-.") or "unnamed"
