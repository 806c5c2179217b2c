"""What all addresses share: the stack, the poller, staged files, the templates."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from phonoscene_cli.board import views
from phonoscene_cli.board.forms.examinations import Examinations
from phonoscene_cli.board.forms.staging import Staging
from phonoscene_cli.board.live import Poller
from phonoscene_cli.board.snapshot import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import Environment
    from starlette.requests import Request

    from phonoscene_cli.board.access import Access
    from phonoscene_cli.board.media.waveform import Waveform
    from phonoscene_cli.stack.connection import Stack

#: What a form may hold: every field of the sidecar at its longest, and more.
MAX_FORM: Final = 1024 * 1024
KEPT_WAVEFORMS: Final = 64
KEPT_ATTEMPTS: Final = 1000


@dataclass
class Board:
    """One board, for the stack that ``find`` returns."""

    find: Callable[[], Stack]
    access: Access
    env: Environment = field(default_factory=views.environment)
    staging: Staging = field(default_factory=Staging)
    examinations: Examinations = field(default_factory=Examinations)
    waveforms: OrderedDict[tuple[str, ...], Waveform] = field(default_factory=OrderedDict)
    observer: Observer = field(init=False)
    poller: Poller = field(init=False)
    _attempts: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.observer = Observer(self.find)
        self.poller = Poller(self.observer)

    @property
    def stack(self) -> Stack:
        """The stack, as it was found last."""
        return self.observer.stack

    def once(self, attempt: str) -> bool:
        """Whether this attempt of a page is the first: a button that is pressed twice pays once."""
        with self._lock:
            is_first = bool(attempt) and attempt not in self._attempts
            self._attempts[attempt] = None
            while len(self._attempts) > KEPT_ATTEMPTS:
                self._attempts.popitem(last=False)
        return is_first

    def again(self, attempt: str) -> None:
        """Let an attempt be made again: it failed."""
        with self._lock:
            self._attempts.pop(attempt, None)

    def waveform(self, key: tuple[str, ...], draw: Callable[[], Waveform]) -> Waveform:
        """The drawing of some audio, made once and kept; the oldest of many goes first."""
        found = self.waveforms.get(key) or draw()
        with self._lock:
            self.waveforms[key] = found
            while len(self.waveforms) > KEPT_WAVEFORMS:
                self.waveforms.popitem(last=False)
        return found

    def page(
        self, request: Request, template: str, status: int = 200, /, **context: Any
    ) -> HTMLResponse:
        """A page or a fragment; ``stack`` names what it is about."""
        html = self.env.get_template(template).render(
            nonce=request.scope["nonce"], path=request.url.path, label=self._label(), **context
        )
        return HTMLResponse(html, status)

    def _label(self) -> str:
        """Which stack this is; what cannot be reached has no name yet."""
        try:
            stack = self.stack
        except Exception:  # noqa: BLE001 - the page itself says what is wrong
            return ""
        region = stack.session.region_name
        return "local cloud" if stack.endpoints else f"{stack.name}, {region}"


def board_of(request: Request) -> Board:
    """The board that a request is to."""
    board: Board = request.app.state.board
    return board


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        HTTPException: it is too large, or is none.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise HTTPException(413, "This form is too large. Shorten its texts.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError as exc:
        raise HTTPException(400, "This is not a form. Reload the page.") from exc
    return {name: value.replace("\r\n", "\n") for name, value in pairs}
