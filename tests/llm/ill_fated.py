"""What `launch` is tested on: processes that report who they are, and the last of which comes to grief."""

import atexit
import os
import signal
import sys
import time
from pathlib import Path

from spillover.errors import TrainingError
from spillover.llm.processes import is_main, joined, rank, world


def main(folder: Path, fate: str) -> None:
    (folder / f"{rank()}").write_text(f"{os.getpid()} {world()} {is_main()}")
    while not all((folder / name).exists() for name in "01"):
        time.sleep(0.01)
    print("loud", file=sys.stderr)
    if fate == "sleep":
        time.sleep(600)
    if rank() == 1 and fate == "mend":
        raise TrainingError("too hot; tune with a smaller --learning-rate")
    if rank() == 1 and fate == "bug":
        raise ZeroDivisionError("of the program\nand more")
    if rank() == 1 and fate == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank() == 1 and fate == "abort":
        os.abort()
    if fate == "abort late":
        atexit.register(os.abort)


if __name__ == "__main__":
    with joined():
        main(Path(sys.argv[1]), sys.argv[2])
