"""What a soak drops, decided by its seed alone: which meets which fault, is bad, or stopped."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.media import one_second

#: Cheap to render: mostly less than a megapixel in all, some more, and of odd sides.
SIZES: Final = ((64, 64), (64, 64), (97, 65), (321, 181))
CHEAP: Final[dict[str, Any]] = {"video_quality": "low"}
#: Sidecars that are refused before anything is spent; each gets a prompt of its own.
BAD_SIDECARS: Final[dict[str, dict[str, Any]]] = {
    "an unknown field": {"promt": "typed in a hurry"},
    "a number out of range": {"fps": 1000},
    "no such size": {"video_size": "gigantic"},
    "a field that cannot be set": {"sync_mode": True},
}
#: Audio that is refused before anything is spent.
BAD_MEDIA: Final[dict[str, one_second.Kind]] = {
    mux: (form, mux) for form, mux in one_second.REFUSED
}
BAD: Final = (*BAD_SIDECARS, *BAD_MEDIA)


@dataclass(frozen=True)
class Fault:
    """A rule of the simulator's dial that strikes one drop, once.

    ``slow``: the way out of it waits for a tick or a retry, about a minute. ``bills_more``: fal
    bills more than was reserved. ``first``: what must happen before, for it to be met.
    """

    name: str
    stage: str
    action: str
    parameters: dict[str, Any] = field(default_factory=dict)
    slow: bool = False
    may_fail: bool = False
    bills_more: bool = False
    first: tuple[Fault, ...] = ()

    def rules(self, prompt: str) -> list[dict[str, Any]]:
        """As the dial takes it, and what comes before it."""
        match = {"prompt_contains": prompt}
        mine = {"stage": self.stage, "action": self.action, "match": match, **self.parameters}
        return [*(rule for one in self.first for rule in one.rules(prompt)), mine]


#: The result is fetched.
BARE: Final = Fault("webhook without payload", "webhook", "payload_error", {"status": "OK"})
#: fal is asked, and does not call.
SILENT: Final = Fault("webhook never", "webhook", "never", slow=True)


def _odd(name: str, stage: str, action: str, *first: Fault, **parameters: Any) -> Fault:
    """An answer that no one documents, of which every video comes back all the same."""
    return Fault(name, stage, action, parameters, slow=True, first=first)


ODD: Final = (
    _odd("URLs in the clear", "submit", "foreign_urls"),
    _odd("URLs of a stranger", "submit", "foreign_urls", SILENT, host="evil.example.com"),
    _odd("no URLs", "submit", "without_urls"),
    _odd("a dripping submit", "submit", "drip", seconds=0.2),
    _odd("status FAILED", "status", "unknown", SILENT, value="FAILED"),
    _odd("status a list", "status", "not_an_object", SILENT),
    _odd("a dripping status", "status", "drip", SILENT, seconds=0.2),
    *(
        _odd(f"result {form}", "result", "malformed", BARE, form=form)
        for form in ("video_list", "videos", "empty", "surrogate", "nan")
    ),
    _odd("result no JSON", "result", "not_json", BARE),
    _odd("result accepted", "result", "accepted", BARE),
    _odd("a dripping result", "result", "drip", BARE, seconds=0.1),
    *(
        _odd(f"webhook {form}", "webhook", "malformed", form=form)
        for form in ("video_list", "videos", "empty", "surrogate", "nan", "bom")
    ),
    _odd("an error first", "webhook", "error_first", seconds=1),
    _odd("a final error first", "webhook", "error_first", seconds=1, error_type="bad_request"),
    _odd("webhook unavailable", "webhook", "unavailable"),
    _odd("download short", "cdn", "short", bytes=40),
    _odd("download a page", "cdn", "html"),
    _odd("download packed", "cdn", "gzip"),
    _odd("download elsewhere", "cdn", "redirect"),
    _odd("download limited", "cdn", "limit", connections=1, retry_after=1, times=None),
    _odd("download of open length", "cdn", "unknown_total", times=None),
    _odd("download with odd ETags", "cdn", "odd_etag", form="weak_later", times=None),
    _odd("download after hints", "cdn", "early_hints", times=None),
    _odd("download dripping", "cdn", "drip", seconds=0.1),
    _odd("download not yet there", "cdn", "not_yet", seconds=5, times=None),
    _odd("an odd address", "cdn", "odd_url", form="escaped_slash"),
    _odd("too small a file_size", "render", "file_size", bytes=100),
    _odd("free first", "render", "container", form="free_first"),
    _odd("moov first", "render", "container", form="no_ftyp"),
    _odd("brand qt", "render", "container", form="qt_brand"),
)

FAULTS: Final = (
    Fault("answer lost", "submit", "lost_response"),
    Fault("answer late", "submit", "delay", {"seconds": 3}),
    Fault("webhook before the answer", "webhook", "early"),
    Fault("webhook twice", "webhook", "duplicate", {"count": 2}),
    Fault("webhook forged", "webhook", "forged"),
    Fault("webhook of another tenant", "webhook", "foreign_tenant"),
    BARE,
    Fault("download cut", "cdn", "reset", {"bytes": 500}),
    Fault("download without ranges", "cdn", "no_ranges"),
    Fault("refused, 429", "submit", "status", {"code": 429}, slow=True),
    Fault("refused, 503", "submit", "status", {"code": 503}, slow=True),
    SILENT,
    Fault("download refused, 503", "cdn", "status", {"code": 503}, slow=True),
    Fault(
        "runner disconnected",
        "render",
        "error",
        {"error_type": "runner_disconnected", "status": 503, "retryable": True},
        slow=True,
    ),
    Fault(
        "generation timed out",
        "render",
        "error",
        {"type": "generation_timeout", "status": 504, "retryable": True},
        slow=True,
    ),
    Fault(
        "content refused",
        "render",
        "error",
        {"type": "content_policy_violation"},
        may_fail=True,
    ),
    Fault(
        "larger than asked",
        "render",
        "bigger_video",
        {"width": 640, "height": 480},
        bills_more=True,
    ),
    *ODD,
)
#: Long enough at fal for a person to change their mind.
DAWDLE: Final = Fault("waits at fal", "queue", "delay", {"seconds": 20})


@dataclass
class Drop:
    """One pair, and what is meant to happen to it."""

    name: str
    prompt: str
    suffix: str
    media: one_second.Kind
    audio_first: bool
    twice: bool = False
    bad: str | None = None
    cancel: bool = False
    fault: Fault | None = None
    size: tuple[int, int] = (64, 64)
    #: The versions S3 gave to the halves: which pair a record was made from.
    audio_version: str = ""
    sidecar_version: str = ""

    @property
    def audio(self) -> str:
        """The audio's key."""
        return f"{self.name}.{self.suffix}"

    @property
    def sidecar(self) -> str:
        """The sidecar's key."""
        return f"{self.name}.json"

    def document(self) -> bytes:
        """The sidecar's text."""
        wrong = BAD_SIDECARS.get(self.bad or "", {})
        size = dict(zip(("width", "height"), self.size, strict=True))
        sidecar = {"prompt": self.prompt, "video_size": size, **CHEAP, **wrong}
        return json.dumps(sidecar).encode()

    def rules(self) -> list[dict[str, Any]]:
        """What the dial must know before the drop."""
        faults = [self.fault] if self.fault else []
        faults += [DAWDLE] * self.cancel
        return [rule for fault in faults for rule in fault.rules(self.prompt)]

    @property
    def may_end(self) -> set[str]:
        """The final states that are no surprise."""
        if self.bad:
            return {"REJECTED"}
        ends = {"SUCCEEDED"}
        if self.cancel:
            ends.add("CANCELLED")
        return ends | {"FAILED"} if self.fault and self.fault.may_fail else ends


@dataclass(frozen=True)
class SoakOptions:
    """What the command line asks for."""

    drops: int
    faults: float
    seed: int
    #: Only faults whose way out takes seconds.
    quick: bool = False
    #: Seconds between two kills; 0: none.
    kill_every: float = 0.0
    #: Seconds until the soak gives up.
    patience: float = 600.0
    #: Whether fal sends any webhook at all.
    webhooks: bool = True
    #: MaxInFlight.
    in_flight: int = 40
    #: Which of ``one_second.CHOICES`` is dropped.
    media: str = one_second.ALL


def plan(options: SoakOptions) -> list[Drop]:
    """The drops, in order; the same seed gives the same ones."""
    chance = random.Random(options.seed)  # noqa: S311 - repeatable, no secret
    drops = [_drop(number, options, chance) for number in range(options.drops)]
    few = max(1, options.drops // 50)
    picked = chance.sample(drops, min(len(drops), 2 * few))
    wrong = chance.sample(BAD, len(BAD))
    for number, drop in enumerate(picked[:few]):
        drop.bad = wrong[number % len(BAD)]
        if drop.bad in BAD_MEDIA:
            drop.media = BAD_MEDIA[drop.bad]
            drop.suffix = drop.media[0]
    for drop in picked[few:]:
        drop.cancel = True
    for drop in chance.sample(drops, len(drops) // 10):
        drop.twice = True
    audio = [drop for drop in drops if not (drop.bad or drop.cancel)]
    kinds = [fault for fault in FAULTS if not (options.quick and fault.slow)]
    hit = chance.sample(audio, min(len(audio), round(options.faults * len(drops))))
    chance.shuffle(kinds)
    for number, drop in enumerate(hit):  # each kind about as often
        drop.fault = kinds[number % len(kinds)]
    return drops


#: What the list of requests answers now and then: it proves nothing.
UNREAD_LISTS: Final = ("without_input", "envelope", "error_ok", "next_page", "not_json")


def background(options: SoakOptions) -> list[dict[str, Any]]:
    """Rules for calls that no single drop can be held to: when fal is asked, it may stumble."""
    often = {"times": None, "probability": options.faults}
    never = {"stage": "webhook", "action": "never", "times": None}
    return [
        *([] if options.webhooks else [never]),
        {"stage": "status", "action": "delay", "seconds": 1, **often},
        {"stage": "result", "action": "status", "code": 503, **often},
        {"stage": "result", "action": "delay", "seconds": 1, **often},
        *({"stage": "requests", "action": action, **often} for action in UNREAD_LISTS),
    ]


def _drop(number: int, options: SoakOptions, chance: random.Random) -> Drop:
    kind = chance.choice(one_second.CHOICES[options.media])
    return Drop(
        name=f"soak/{number % 10}/{number:05d}",
        prompt=f"soak {options.seed} drop {number:05d} {chance.getrandbits(64):016x}",
        suffix=chance.choice(one_second.suffixes(kind)),
        media=kind,
        audio_first=chance.random() < 0.5,
        size=chance.choice(SIZES),
    )
