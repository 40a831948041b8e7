"""The calibration of the default model that comes with the package: `python -m benchmarks.ship_calibration`.

Made of all that `rates.py` measured. `rate_figures.py` judges the one without the last part, on rules that it
has not seen; more rules make this one no worse, and its intervals nearer.
"""

from pathlib import Path

import spillover.implication
from benchmarks.rate_figures import points
from benchmarks.rates import measured_parts
from spillover.cells.compute import locate
from spillover.implication.calibration import Calibration
from spillover.llm.names import DEFAULT_MODEL
from spillover.runs.files import plain, write_json


def main() -> None:
    """Write it to where `jobs/calibrations.py` looks for it."""
    evidence = tuple(point.seen for part in measured_parts() for point in points(part))
    calibration = Calibration(model=DEFAULT_MODEL, identity=locate(DEFAULT_MODEL).identity, evidence=evidence)
    path = Path(spillover.implication.__file__).parent / "data" / f"{DEFAULT_MODEL}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, plain(calibration))
    print(f"{len(evidence)} rules of tables, {calibration.rules} rules, in {path}")


if __name__ == "__main__":
    main()
