"""Work on several processes of one machine: how they are started, who is who among them, how they fail.

A module that is to run on several ends with

    if __name__ == "__main__":
        with joined():
            main(sys.argv[1:])

and is started by `launch`. torch is imported only where processes join.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spillover import errors
from spillover.errors import RunError, SpilloverError, TrainingError

_FAILURE = "SPILLOVER_FAILURE_FILE"
_SECONDS_TO_STOP = 40.0  # torch.distributed.run itself gives its processes 30


def launch(module: str, arguments: Sequence[str], processes: int) -> None:
    """Run `python -m module arguments` as so many processes that join each other; returns when all are done.

    What they print passes; what they and their libraries write to stderr does not. Interrupted, it ends them
    first. Raises the SpilloverError that a process failed with, and RunError, in one line, for whatever
    else ended one; its note is what that process wrote to stderr.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", module, *arguments]
    with tempfile.TemporaryDirectory(prefix="spillover-") as scratch:
        failure, log = Path(scratch) / "failure.json", Path(scratch) / "stderr"
        with log.open("wb") as stderr:
            child = subprocess.Popen(  # noqa: S603 - no shell
                command,
                stderr=stderr,
                env={"OMP_NUM_THREADS": str(threads), **os.environ, _FAILURE: str(failure)},
                start_new_session=True,  # an interrupt from the keyboard reaches the processes through us
            )
            try:
                code = child.wait()
            except BaseException:
                _stop(child)
                raise
        if code:
            raise _error_of(module, failure, log.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def joined() -> Iterator[None]:
    """Join the launched processes for the length of a block: by NCCL on a GPU each, else by gloo on the CPU.

    A process that was not launched is alone; one that was ends with the block. An exception in the block
    ends this process, and with it the others, and `launch` raises it.
    """
    try:
        launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if launched:
            _join()
        yield
    except Exception as error:
        _report_failure(error)
        if isinstance(error, SpilloverError) and _FAILURE in os.environ:
            sys.exit(1)
        raise
    if launched:
        import torch.distributed

        torch.distributed.destroy_process_group()
        # Not through the interpreter's own end: it may abort where torch's threads still run.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def world() -> int:
    """How many processes have joined; 1 in one that is alone."""
    import torch.distributed

    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    import torch.distributed

    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that reports and keeps the result."""
    return rank() == 0


def _join() -> None:
    import torch

    processes, place = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        if processes > torch.cuda.device_count():
            raise TrainingError(
                f"{processes} processes need a GPU each, and there are {torch.cuda.device_count()}; "
                "tune on fewer processes"
            )
        torch.cuda.set_device(place)
        torch.distributed.init_process_group("nccl", device_id=torch.device("cuda", place))
    else:
        torch.distributed.init_process_group("gloo")


def _report_failure(error: Exception) -> None:
    """Leave the first failure of all processes where `launch` finds it."""
    report = {"error": type(error).__name__, "message": str(error)}
    try:
        with Path(os.environ[_FAILURE]).open("x", encoding="utf-8") as file:
            json.dump(report, file)
    except (KeyError, OSError):  # alone, or another process failed first
        return


def _error_of(module: str, failure: Path, stderr: str) -> SpilloverError:
    """The error of a process that failed, from what it left behind."""
    report = json.loads(failure.read_text(encoding="utf-8")) if failure.exists() else None
    if report and issubclass(kind := getattr(errors, report["error"], Exception), SpilloverError):
        return kind(report["message"])
    if report:
        line = f"{report['error']}: {report['message'].strip().partition(chr(10))[0]}"
    elif signal := re.search(r"Signal \d+ \((\w+)\)", stderr.partition("Root Cause")[2]):
        line = signal[1]
        if line == "SIGKILL":
            line += ", as where memory runs out; give fewer processes or a smaller batch"
    else:
        line = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no word of why")
    error = RunError(f"a process of {module} ended early: {line}")
    error.add_note(stderr)
    return error


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()  # torch.distributed.run passes it on
    try:
        child.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
