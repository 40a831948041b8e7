"""The command line: thin verbs over the Python functions.

Results go to stdout, progress and logs to stderr. Exit 0: done; 1: a gate failed; 2: bad input or
environment, in one line; 130: interrupted.
"""

import sys

from cyclopts import App, CycloptsError

from spillover import __version__
from spillover.cli import audits, control, foresight, imports, lab
from spillover.cli.output import tell
from spillover.cli.streams import ReaderLeft, open_streams
from spillover.errors import SpilloverError

app = App(
    name="spillover",
    version=__version__,
    help="Measure and forecast what fine-tuning teaches a language model beyond its data.",
    help_format="plaintext",  # markdown would cost a third of the time of `--help`
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # ours says how to go on
)
for _verb in (
    audits.audit,
    foresight.forecast,
    foresight.calibrate,
    audits.score,
    audits.sweep,
    control.tradeoff,
    audits.spectrum,
    audits.report,
    audits.runs,
    lab.symbolic,
    lab.reproduce,
):
    app.command(_verb)
app.command(imports.init)
app.command(imports.import_, name="import")
app.command(imports.export)


def main() -> None:
    """Run the command line and exit with its code."""
    open_streams()
    try:
        code = app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        code = _complain(f"{' '.join(str(error).split())} (see `spillover --help`)")
    except SpilloverError as error:
        code = _complain(str(error))
    except ReaderLeft:
        code = 0
    except KeyboardInterrupt as interrupt:
        hints = getattr(interrupt, "__notes__", [])  # a run's says where to go on
        tell("; ".join(["interrupted", *hints]))
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _complain(line: str) -> int:
    tell(f"spillover: {line}")
    return 2
