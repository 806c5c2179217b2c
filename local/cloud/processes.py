"""Starting, recognising and stopping background processes: the only module that signals any.

A process is recognised by its pid *and* its start time, because pids are used again: after a
restart of the machine the recorded pid may be anybody's, and must not be killed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalCloudError
from local.paths import PROJECT

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A background process that leads a session, and so a process group, of its own."""

    name: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return start_time(self.pid) == self.started

    def stop(self) -> None:
        """End it with every process it started, at once: nothing of theirs is kept."""
        leader = start_time(self.pid)
        if leader not in (None, self.started):
            return  # the pid is somebody else's by now
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._await_end()

    def _await_end(self) -> None:
        deadline = time.monotonic() + 10
        while members(self.pid):
            reap(self.pid)
            if time.monotonic() > deadline:
                raise LocalCloudError(
                    f"The {self.name} does not end: look at it with `ps -g {self.pid}`."
                )
            time.sleep(0.02)


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    sockets: Sequence[int] = (),
) -> Process:
    """Start `command` in the background, with `sockets`; what it prints goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            cwd=PROJECT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=sockets,
        )
    # This process does not wait for it: this keeps Popen from warning when it is collected.
    child.returncode = 0
    return Process(name, child.pid, start_time(child.pid) or "")


def reap(pid: int) -> None:
    """Collect the exit of our own child, which would otherwise stay in the table as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def start_time(pid: int) -> str | None:
    """When `pid` began, as an opaque text; None when there is no such process, or a zombie."""
    if PROC.is_dir():
        fields = _stat(PROC / str(pid))
        return None if fields is None or fields[0] == "Z" else fields[19]
    state, _, began = _ps("-o", "state=,lstart=", "-p", str(pid)).strip().partition(" ")
    return None if state[:1] in {"", "Z"} else began.strip()


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    if PROC.is_dir():
        found = (
            (int(entry.name), _stat(entry)) for entry in PROC.iterdir() if entry.name.isdigit()
        )
        return [
            pid for pid, fields in found if fields and fields[0] != "Z" and fields[2] == str(group)
        ]
    rows = (row.split() for row in _ps("-A", "-o", "pid=,pgid=,state=").splitlines())
    return [
        int(pid) for pid, owner, state in rows if owner == str(group) and not state.startswith("Z")
    ]


def _stat(folder: Path) -> list[str] | None:
    """/proc/<pid>/stat from its third field on: state, parent, group, … start time (proc(5))."""
    try:
        text = (folder / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()  # the name before it may hold anything, even blanks


def _ps(*arguments: str) -> str:
    command = ["ps", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - no outside text
