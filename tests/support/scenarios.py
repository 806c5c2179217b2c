"""What people drop and what fal does: the undisturbed runs into which crashes are put."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.keys import half_id
from phonoscene.jobs import JobStatus
from tests.support import stack
from tests.support.fakes.fal import Made, Play
from tests.support.fakes.table import Table
from tests.support.fakes.world import World
from tests.support.media.samples import png, silence

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fakes.calls import Calls

AUDIO, SIDECAR, COVER = "albums/song.wav", "albums/song.json", "albums/cover.png"
RIVAL, LONG_SIDECAR = "albums/song.mp3", "albums/song.wav.json"
RECORDING = "albums/song.mp4"
#: Seconds after which a job has been admitted, whatever crashed.
LATER: Final = 900
SOUND: Final = silence(1.0)
SONG: Final = silence(14.0)
PICTURE: Final = png(64, 64)
WISH: Final[dict[str, Any]] = {"prompt": "a harbour"}
#: The stack's AudioDelivery.
COPIES: Final = {"AUDIO_DELIVERY": "fal-storage"}
S = JobStatus
#: Other videos than one second of audio asks for.
LARGER: Final = Made(width=3840, height=2160, frames=961)
LONGER: Final = Made(frames=48)
SHORTER: Final = Made(frames=9)
#: Lists of requests that cannot be read.
UNREAD: Final = ["no input", "another envelope", "an error"]


@dataclass(frozen=True)
class Scenario:
    """A story, and how it ends: the states of its jobs, in any order."""

    tell: Callable[[World], None]
    ends: tuple[JobStatus, ...] = (S.SUCCEEDED,)
    #: Every other end that crashes may lead to, because time passes while no one works.
    may_end: frozenset[JobStatus] = frozenset()
    #: The ends of records that may never be written: what they are of was cancelled, replaced or
    #: made a job before.
    may_lack: tuple[JobStatus, ...] = ()
    play: Callable[[], Play] = Play
    settings: dict[str, str] = field(default_factory=dict)
    #: Bytes of a part of a video; those are 312 bytes long.
    part: int = 8 * 1024 * 1024

    def world(self, calls: Calls, table: Table | None = None) -> World:
        """The world in which it will happen."""
        made = World(calls, self.play(), self.settings, part=self.part, table=table or Table())
        self.tell(made)
        return made


def drop(world: World) -> None:
    """The audio, and its sidecar a while later."""
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(20, lambda: world.drop(SIDECAR, WISH))


def drop_with_cover(world: World) -> None:
    """An image, the audio, and a sidecar that names the image."""
    world.at(0, lambda: world.drop(COVER, PICTURE))
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(1, lambda: world.drop(SIDECAR, WISH | {"image_url": "cover.png"}))


def drop_cover_last(world: World) -> None:
    """The picture long after both halves, announced twice."""
    drop_without_cover(world)
    world.at(100, lambda: world.drop(COVER, PICTURE, times=2))


def drop_without_cover(world: World) -> None:
    """Both halves, and never the picture that they name."""
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(1, lambda: world.drop(SIDECAR, WISH | {"image_url": "cover.png"}))


def put_cover_in_silence(world: World) -> None:
    """The picture after both halves, and its event is lost."""
    drop_without_cover(world)
    world.at(100, lambda: world.buckets.put(stack.DROPS, COVER, PICTURE))


def drop_takes_with_covers(world: World) -> None:
    """Two takes, each with a picture of its own: one comes, and the other never does."""
    takes = [WISH | {"image_url": name} for name in ("cover.png", "other.png")]
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(1, lambda: world.drop(SIDECAR, takes))
    world.at(100, lambda: world.drop(COVER, PICTURE))


def drop_again_while_waiting(world: World) -> None:
    """A pair that waits for its picture is replaced by one that needs none."""
    drop_without_cover(world)
    world.at(100, lambda: world.drop(AUDIO, SOUND))
    world.at(101, lambda: world.drop(SIDECAR, WISH))
    world.at(200, lambda: world.drop(COVER, PICTURE))


def drop_twice_announced(world: World) -> None:
    """Both halves at once, each announced twice."""
    world.at(0, lambda: world.drop(SIDECAR, WISH, times=2))
    world.at(1, lambda: world.drop(AUDIO, SOUND, times=2))


def drop_alone(world: World) -> None:
    """An audio file whose sidecar never comes."""
    world.at(0, lambda: world.drop(AUDIO, SOUND))


def drop_recording(world: World) -> None:
    """A recording in another format comes after its sidecar, and is converted later."""
    world.at(0, lambda: world.drop(SIDECAR, WISH))
    world.at(20, lambda: world.drop(RECORDING, b"\0"))
    world.at(100, lambda: world.drop(AUDIO, SOUND))


def drop_three(world: World) -> None:
    """More drops than there are slots."""
    for name in "abc":
        world.at(0, lambda name=name: world.drop(f"{name}.wav", SOUND))  # type: ignore[misc]  # a default binds it
        world.at(1, lambda name=name: world.drop(f"{name}.json", WISH))  # type: ignore[misc]


def drop_takes(world: World) -> None:
    """One audio file, two takes of it."""
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(20, lambda: world.drop(SIDECAR, [WISH | {"seed": 1}, WISH | {"seed": 2}]))


def drop_and_copy(world: World) -> None:
    """Tools copy both files in place: one on the job's way, both when it has its video."""
    drop(world)
    world.at(30, lambda: world.touch(AUDIO))
    world.at(LATER, lambda: world.touch(SIDECAR))
    world.at(LATER + 1, lambda: world.touch(AUDIO))


def drop_and_copy_twice_announced(world: World) -> None:
    """Both halves again within seconds, when the first are a job already; each event twice."""
    drop_twice_announced(world)
    world.at(2, lambda: world.drop(SIDECAR, WISH, times=2))
    world.at(3, lambda: world.drop(AUDIO, SOUND, times=2))


def drop_and_take_again(world: World) -> None:
    """Somebody wants another take, and a tool copies it in place."""
    drop(world)
    world.at(LATER, lambda: world.drop(SIDECAR, WISH, mark="again"))
    world.at(2 * LATER, lambda: world.touch(SIDECAR))


def drop_another_take(world: World) -> None:
    """One more take in the sidecar's list."""
    drop(world)
    world.at(LATER, lambda: world.drop(SIDECAR, [WISH | {"seed": 7}, WISH]))


def drop_a_rival(world: World) -> None:
    """A second audio file that could have the same sidecar; then a tool copies the first."""
    drop(world)
    world.at(LATER, lambda: world.drop(RIVAL, SOUND))
    world.at(2 * LATER, lambda: world.touch(AUDIO))


def drop_rivals(world: World) -> None:
    """Two audio files wait for the sidecar that could be either's."""
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(1, lambda: world.drop(RIVAL, SOUND))
    world.at(LATER / 4, lambda: world.drop(SIDECAR, WISH))


def drop_two_sidecars(world: World) -> None:
    """A sidecar that is not used, because another one counts."""
    world.at(0, lambda: world.drop(AUDIO, SOUND))
    world.at(20, lambda: world.drop(LONG_SIDECAR, WISH))
    world.at(LATER, lambda: world.drop(SIDECAR, WISH | {"prompt": "a forest"}))


def drop_chain(world: World) -> None:
    """A song with four scenes, each segment from the last frame of the one before."""
    _drop_song(world, {"continuity": "last_frame"})


def drop_long_again(world: World) -> None:
    """A song with four scenes, and later with another text for one of them."""
    _drop_song(world, {})
    world.at(2 * LATER, lambda: world.drop(SIDECAR, a_song("a forest")))


def drop_long_and_cancel(world: World) -> None:
    """Somebody thinks better of a song while fal works at all of its segments."""
    _drop_song(world, {})
    world.at(20, lambda: cancel_all(world))


def drop_long_again_and_cancel(world: World) -> None:
    """A song again, with another text, while fal works at the first, which is cancelled."""
    _drop_song(world, {})
    world.at(15, lambda: world.drop(SIDECAR, a_song("a forest")))
    world.at(25, lambda: cancel_first(world))


def _drop_song(world: World, fields: dict[str, Any]) -> None:
    world.at(0, lambda: world.drop(AUDIO, SONG))
    world.at(1, lambda: world.drop(SIDECAR, a_song("a quay") | fields))


def a_song(second: str) -> dict[str, Any]:
    """A sidecar with four scenes, one of which has this text."""
    texts = ("a harbour", second, "a ship", "a storm")
    scenes = [{"start": 3.5 * number, "prompt": text} for number, text in enumerate(texts)]
    return {"prompt": "a harbour", "scenes": scenes}


def drop_and_cancel(world: World) -> None:
    """Somebody thinks better of it while fal works."""
    drop(world)
    world.at(40, lambda: cancel_all(world))


def cancel_first(world: World) -> None:
    """Ask for the first of the songs to be cancelled, if there are two."""
    songs = [item for item in world.table.items() if "sequence" in item]
    if len(songs) > 1:
        first = min(songs, key=lambda item: str(item["created_at"]["S"]))
        world.send("drops", f'{{"cancel": "{first["job_id"]["S"]}"}}', 0)


def cancel_all(world: World) -> None:
    """Ask for every job there is to be cancelled, as the command line does."""
    waiting = half_id(stack.DROPS, AUDIO)
    sums = ("window", "budget", "content")
    for item in world.table.items():
        job_id = item["job_id"]["S"]
        is_job = job_id != waiting and not job_id.startswith(sums)
        if is_job and "part_of" not in item:
            world.send("drops", f'{{"cancel": "{job_id}"}}', 0)


SCENARIOS: Final = {
    "a drop": Scenario(drop),
    "a drop, everything announced twice": Scenario(
        drop_twice_announced, play=lambda: Play(duplicates=1)
    ),
    "a video in parts": Scenario(drop, part=128),
    "no webhook ever": Scenario(drop, play=lambda: Play(webhooks=False)),
    "a webhook before the answer": Scenario(drop, play=lambda: Play(early=True)),
    "a webhook without payload": Scenario(drop, play=lambda: Play(payload=False)),
    "an answer lost": Scenario(drop, play=lambda: Play(lost_answers=deque([True]))),
    "an answer lost, and no webhook": Scenario(
        drop, play=lambda: Play(lost_answers=deque([True]), webhooks=False)
    ),
    "fal busy": Scenario(drop, play=lambda: Play(refusals=deque([429]))),
    "the account refused": Scenario(drop, play=lambda: Play(refusals=deque([403]))),
    "a run that fails": Scenario(drop, play=lambda: Play(failures=deque([True]))),
    "three drops, one place": Scenario(
        drop_three, ends=(S.SUCCEEDED,) * 3, settings={"MAX_IN_FLIGHT": "1"}
    ),
    "two takes": Scenario(drop_takes, ends=(S.SUCCEEDED,) * 2),
    "copies in fal's storage, no webhooks": Scenario(
        drop_with_cover,
        play=lambda: Play(uploads=deque([None, 503])),
        settings=COPIES | {"WEBHOOK_BASE_URL": "", "ASK_FAL_SECONDS": "5"},
    ),
    "copies that end too soon": Scenario(
        drop, play=lambda: Play(expired=deque([True])), settings=COPIES
    ),
    "a larger video, everything twice": Scenario(
        drop_twice_announced, play=lambda: Play(duplicates=1, makes=(LARGER,))
    ),
    "a shorter video, no webhook ever": Scenario(
        drop, play=lambda: Play(webhooks=False, makes=(SHORTER,))
    ),
    "an answer lost, and a larger video each time": Scenario(
        drop, play=lambda: Play(lost_answers=deque([True]), makes=(LARGER, LONGER))
    ),
    "a larger bill, no payload": Scenario(
        drop, play=lambda: Play(payload=False, makes=(Made(units="90.5"),))
    ),
    "an answer lost, no webhook, and lists that prove nothing": Scenario(
        drop,
        play=lambda: Play(
            lost_answers=deque([True]),
            webhooks=False,
            odd={"list": deque(UNREAD)},
            result_lives=timedelta(days=1),
        ),
        settings={"AUDIO_URL_TTL_SECONDS": "600"},
    ),
    "an answer without addresses, and no webhook": Scenario(
        drop, play=lambda: Play(webhooks=False, odd={"post": deque(["bare"])})
    ),
    "odd words of fal, and no webhook": Scenario(
        drop,
        play=lambda: Play(
            webhooks=False,
            odd={
                "status": deque(["FAILED", "completed"]),
                "result": deque(["empty", "page", "accepted"]),
            },
        ),
    ),
    "a webhook in another form": Scenario(
        drop, play=lambda: Play(odd={"webhook": deque(["videos"])})
    ),
    "a webhook with half a surrogate pair": Scenario(
        drop, play=lambda: Play(odd={"webhook": deque(["half a surrogate pair"])})
    ),
    "an error, and then the video of the same request": Scenario(
        drop, play=lambda: Play(odd={"webhook": deque(["error first"])})
    ),
    "a page in the video's place, and then a part of it": Scenario(
        drop, play=lambda: Play(odd={"file": deque(["page", "short"])})
    ),
    "a chain of four segments": Scenario(drop_chain, ends=(S.SUCCEEDED,) * 5),
    "a song again, with one scene changed": Scenario(drop_long_again, ends=(S.SUCCEEDED,) * 7),
    "a song that is cancelled": Scenario(
        drop_long_and_cancel,
        ends=(S.CANCELLED,) * 5,
        may_end=frozenset({S.SUCCEEDED}),
        may_lack=(S.CANCELLED,) * 4,
        settings={"MAX_IN_FLIGHT": "4"},
    ),
    "no sidecar": Scenario(drop_alone, ends=(S.REJECTED,)),
    "a recording that is converted": Scenario(drop_recording),
    "an image that comes last": Scenario(drop_cover_last),
    "an image whose event is lost": Scenario(put_cover_in_silence),
    "an image that never comes": Scenario(drop_without_cover, ends=(S.REJECTED,)),
    "an image of each take, and one never comes": Scenario(
        drop_takes_with_covers, ends=(S.SUCCEEDED, S.REJECTED)
    ),
    "replaced while it waits for an image": Scenario(
        drop_again_while_waiting, ends=(S.SUCCEEDED, S.REJECTED), may_lack=(S.REJECTED,)
    ),
    "copies in place": Scenario(drop_and_copy),
    "copies at once, everything announced twice": Scenario(drop_and_copy_twice_announced),
    "another take on purpose": Scenario(drop_and_take_again, ends=(S.SUCCEEDED,) * 2),
    "a take more": Scenario(drop_another_take, ends=(S.SUCCEEDED,) * 2),
    "a second audio file": Scenario(drop_a_rival, ends=(S.SUCCEEDED, S.REJECTED)),
    "two audio files that wait": Scenario(
        drop_rivals, ends=(S.REJECTED,) * 4, may_lack=(S.REJECTED,) * 2
    ),
    "a sidecar that is not used": Scenario(drop_two_sidecars),
    "cancelled": Scenario(drop_and_cancel, ends=(S.CANCELLED,), may_end=frozenset({S.SUCCEEDED})),
}
#: What the whole matrix plays. The tests sample the others, whose calls are the same ones.
SAMPLED: Final = {
    "copies that end too soon",
    "a shorter video, no webhook ever",
    "an answer lost, and a larger video each time",
    "a larger bill, no payload",
    # four segments have so many calls that all pairs of crashes would take an hour
    "a chain of four segments",
    "a song again, with one scene changed",
}
MATRIX: Final = [name for name in SCENARIOS if name not in SAMPLED]
