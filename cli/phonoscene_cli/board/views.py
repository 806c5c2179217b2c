"""Pages and their parts as HTML. Whatever a drop, fal or AWS has written is text, never markup."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from phonoscene.drops.keys import drop_name
from phonoscene.jobs import Job, JobStatus
from phonoscene.publishing.public_job import notes, problems, segments_of, written
from phonoscene.sequences.segments import clock
from phonoscene_cli.board.forms.fields import FIELDS, FIRST, OTHER
from phonoscene_cli.board.media.waveform import BARS
from phonoscene_cli.follow.cancellation import SETTLED
from phonoscene_cli.ui import formatting
from phonoscene_cli.ui.job_facts import facts
from phonoscene_cli.ui.next_steps import Remedy, remedy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phonoscene_cli.board.snapshot import Snapshot

_CODE: Final = re.compile("`([^`]*)`")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
#: Seconds after which an id that has no record is probably none.
RECORDED: Final = 60.0
HERE: Final = Path(__file__).parent
#: A sign beside each state, so that its colour is never all that says it.
SIGNS: Final = {
    JobStatus.SUCCEEDED: "✓",
    JobStatus.FAILED: "✕",
    JobStatus.REJECTED: "!",
    JobStatus.CANCELLED: "–",  # noqa: RUF001 - a sign on a page
    JobStatus.WAITING: "…",
    JobStatus.READY: "○",
}
#: Containers that browsers play in a video element.
PLAYED: Final = frozenset({"video/mp4", "video/webm"})


def _prose(text: object) -> Markup:
    """A sentence; what stands between backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _timed(text: object) -> Markup:
    """A sentence; the times in it, as records have them, become those of the reader's zone."""
    as_time = r'<time datetime="\g<0>" data-local>\g<0></time>'
    return Markup(_TIME.sub(as_time, str(escape(text))))  # noqa: S704 - escaped before


def _later_drop(job: Job, takes: Sequence[Job]) -> Job | None:
    """The newest take, if it was made of other objects: the bucket holds what that was made of."""
    newest = next(iter(takes), job)
    return newest if _versions(newest) != _versions(job) else None


def _versions(job: Job) -> list[str]:
    return [half.version_id for half in (job.audio, job.sidecar) if half]


def environment() -> Environment:
    """The templates, with the words that the command line uses."""
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        iso=written,
        usd=formatting.usd,
        size=formatting.size,
        plural=formatting.number,
        clock=clock,
        at_most=formatting.at_most,
        remark=formatting.remark,
        meaning=formatting.meaning,
        drop_name=drop_name,
        prose=_prose,
        timed=_timed,
        capitalize_first=lambda text: text[:1].upper() + text[1:],
    )
    env.globals.update(
        SIGNS=SIGNS,
        STATUSES=tuple(JobStatus),
        PLAYED=PLAYED,
        BARS=BARS,
        SETTLED=SETTLED,
        FIELDS=FIELDS,
        FIRST=FIRST,
        OTHER=OTHER,
        facts=facts,
        later_drop=_later_drop,
        notes=notes,
        problems=problems,
        remedy=remedy,
        Remedy=Remedy,
        segments_of=segments_of,
        steps=formatting.steps,
        step_meaning=formatting.step_meaning,
    )
    env.globals["m"] = env.get_template("macros.html").module
    return env


def parts_of_board(env: Environment, snapshot: Snapshot) -> dict[str, str]:
    """The parts of the first screen, by their ids."""
    return _parts(env, "board_parts.html", snapshot, job=None)


@dataclass
class JobParts:
    """The parts of a job's page, look after look."""

    env: Environment
    job_id: str
    last: Job | None = None

    def __call__(self, snapshot: Snapshot) -> dict[str, str]:
        """The parts by their ids; of a job whose record is gone what became of it."""
        job = snapshot.watched.get(self.job_id)
        if job:
            self.last = job
            return _parts(self.env, "job_parts.html", snapshot, job=job)
        is_gone = self.last and not snapshot.problem
        name = "gone_parts.html" if is_gone else "problem_part.html"
        return _parts(self.env, name, snapshot, job=self.last)


@dataclass
class NewDropParts:
    """The parts of the page of a drop that has no record yet, until the job's own replaces it."""

    env: Environment
    job_id: str
    opened: float = field(default_factory=time.monotonic)

    def __call__(self, snapshot: Snapshot) -> dict[str, str]:
        """The parts by their ids."""
        is_late = time.monotonic() - self.opened > RECORDED
        job = snapshot.watched.get(self.job_id)
        context = {"job_id": self.job_id, "is_late": is_late}
        return _parts(self.env, "new_drop_parts.html", snapshot, job=job, **context)


def _parts(
    env: Environment, name: str, snapshot: Snapshot, job: Job | None, **more: Any
) -> dict[str, str]:
    """Each block of a template."""
    template = env.get_template(name)
    context = template.new_context({"now": snapshot, "job": job, **more})
    return {
        block.replace("_", "-"): "".join(render(context))
        for block, render in template.blocks.items()
    }
