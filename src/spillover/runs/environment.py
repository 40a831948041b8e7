"""What a run was made with: code revision, package versions, Python, platform."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "spillover",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "numpy",
    "scipy",
    "altair",
    "vl-convert-python",
    "duckdb",
)
"""Distributions whose versions a manifest records."""

ENTRIES = ("code_revision", "packages", "python", "platform")
"""The manifest's entries about code and machine."""


def describe() -> dict[str, object]:
    """The manifest's entries about code and machine; never fails, and names no folder."""
    return {
        "code_revision": code_revision(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def code_revision() -> str | None:
    """The commit of the checkout this package runs from, "-dirty" appended if it was changed; else None."""
    package = Path(__file__).resolve().parents[1]
    # An installed copy may lie inside someone else's checkout: only one that tracks this file counts.
    if _git(package, "ls-files", "--error-unmatch", "errors.py") is None:
        return None
    return _git(package, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "--no-optional-locks", "-C", str(folder), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
