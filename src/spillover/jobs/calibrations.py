"""Calibrations on disk: the default model's, which comes with the package, and a user's own. No torch."""

from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from spillover.errors import RunError
from spillover.implication.calibration import Calibration
from spillover.llm.names import DEFAULT_MODEL
from spillover.runs.cache import cache_folder
from spillover.runs.files import plain, read_json, write_json, writing

_FILE = "calibration.json"
_CALIBRATION = TypeAdapter(Calibration)


def calibration_of(model: str = DEFAULT_MODEL) -> Calibration | None:
    """The calibration of the model of that name; None where there is none.

    One that the user made comes before the one of the package. Raises RunError for a damaged file.
    """
    name = known_as(model)
    found = (_read(path) for path in sorted(_folder().glob(f"*/{_FILE}")))
    return next((each for each in found if each.model == name), _shipped(name))


def known_as(model: str) -> str:
    """The name of a model as a calibration has it: of a folder or file its whole path."""
    path = Path(model)
    return str(path.resolve()) if path.exists() else model


def place_of(identity: str) -> Path:
    """Where a model's calibration lies, and the cells that it was made from."""
    return _folder() / identity[:24]


def keep(calibration: Calibration) -> Path:
    """Write a calibration to where it is found. Raises RunError where it cannot be written."""
    path = place_of(calibration.identity) / _FILE
    with writing(path, "set SPILLOVER_CACHE to a folder elsewhere"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plain(calibration))
    return path


def _folder() -> Path:
    return cache_folder() / "calibrations"


def _shipped(name: str) -> Calibration | None:
    file = files("spillover.implication") / "data" / f"{name}.json"
    return _read(Path(str(file))) if name == DEFAULT_MODEL and file.is_file() else None


def _read(path: Path) -> Calibration:
    try:
        return _CALIBRATION.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{path} is damaged at {where}: {first['msg']}; remove it and calibrate anew"
        ) from None
