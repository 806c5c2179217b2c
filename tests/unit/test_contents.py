"""When two drops have the same content, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phonoscene.drops.contents import MAX_HOLDERS, Content, Holders, contents_of
from phonoscene.drops.sidecar import Sidecar
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class File:
    key: str = "song.wav"
    proofs: Mapping[str, str] = field(default_factory=lambda: {"ETag": '9 "a"'})
    mark: str = ""


SONG, SIDECAR = File(), File("song.json")


def arguments(**fields: Any) -> dict[str, Any]:
    return Sidecar.model_validate({"prompt": "a harbour"} | fields).arguments()


def content(audio: File = SONG, images: Mapping[str, File] | None = None, **fields: Any) -> Content:
    sidecar = fields.pop("sidecar", SIDECAR)
    [found] = contents_of("drops", audio, sidecar, [(arguments(**fields), images or {})])
    assert found
    return found


def is_same(one: Content, other: Content) -> bool:
    """Whether a drop of the one repeats a job of the other."""
    return one.id == other.id and bool(Holders(job_id=one.id).with_job(other, "j", ()).of(one))


COVER = {"image_url": File("cover.png")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (content(), content()),
        (content(fps=24), content()),
        (content(fps=24), content(fps=24.0)),
        (
            content(video_size={"width": 64, "height": 32}),
            content(video_size={"height": 32, "width": 64}),
        ),
        (content(), content(sidecar=None)),
        (content(), content(sidecar=File("song.wav.json"))),
        (content(File("caf\u00e9.wav")), content(File("cafe\u0301.wav"))),
        (
            content(images=COVER, image_url="cover.png"),
            content(images=COVER, image_url="cover.png"),
        ),
        (
            content(images={"image_url": File("caf\u00e9.png")}, image_url="caf\u00e9.png"),
            content(images={"image_url": File("cafe\u0301.png")}, image_url="caf\u00e9.png"),
        ),
    ],
)
def test_what_asks_fal_for_the_same_is_the_same(one: Content, other: Content) -> None:
    assert is_same(one, other)
    assert is_same(other, one)


def test_a_scene_whose_fields_stand_in_another_order_is_the_same() -> None:
    scene = {"start": 0.0, "prompt": "a quay", "seed": 7}
    found = set()
    for order in permutations(scene.items()):
        takes = [(arguments() | {"scenes": [dict(order)]}, dict[str, File]())]
        found |= {one.id for one in contents_of("drops", SONG, None, takes) if one}

    assert len(found) == 1


@pytest.mark.parametrize(
    "other",
    [
        content(prompt="a harbour "),
        content(seed=1),
        content(fps=25),
        content(File("other.wav")),
        content(File(proofs={"ETag": '9 "b"'})),
        content(File(proofs={"ETag": '8 "a"'})),
        content(images=COVER, image_url="cover.png"),
        content(image_url="https://example.com/a.png"),
    ],
)
def test_whatever_is_changed_is_another_content(other: Content) -> None:
    assert not is_same(content(), other)
    assert not is_same(other, content())


@pytest.mark.parametrize(
    "image",
    [File("cover.png", {"ETag": '9 "b"'}), File("art/cover.png")],
    ids=["other bytes", "another file"],
)
@pytest.mark.parametrize("field", ["image_url", "end_image_url"])
def test_an_image_belongs_to_the_content(image: File, field: str) -> None:
    named: dict[str, Any] = {field: "cover.png"}
    before = content(images={field: File("cover.png")}, **named)
    after = content(images={field: image}, **named)

    assert not is_same(after, before)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"ETag": "9 a"}, {"ETag": "9 a"}, True),
        ({"ETag": "9 a", "ChecksumCRC32": "9 c"}, {"ETag": "9 b", "ChecksumCRC32": "9 c"}, True),
        ({"ETag": "9 a"}, {"ETag": "9 a", "ChecksumCRC64NVME": "9 n"}, True),
        ({"ETag": "9 a", "ChecksumCRC32": "9 c"}, {"ETag": "9 b", "ChecksumSHA1": "9 c"}, False),
        ({"ETag": "9 a"}, {"ETag": "9 b", "ChecksumCRC32": "9 c"}, False),
        ({"ETag": "9 a"}, {}, False),
        ({}, {}, False),
    ],
)
def test_equal_bytes_are_proved_by_an_etag_or_a_checksum_or_not_at_all(
    before: dict[str, str], after: dict[str, str], *, same: bool
) -> None:
    assert is_same(content(File(proofs=after)), content(File(proofs=before))) is same


def test_what_a_repeat_proves_is_learnt() -> None:
    """First re-encrypted by S3 with a checksum more, then by a key, which changes the ETag."""
    first = content(File(proofs={"ETag": "9 a"}))
    second = content(File(proofs={"ETag": "9 a", "ChecksumCRC64NVME": "9 n"}))
    third = content(File(proofs={"ETag": "9 z", "ChecksumCRC64NVME": "9 n"}))
    holders = Holders(job_id=first.id).with_job(first, "j", ())

    assert holders.of(third) == []
    assert holders.with_repeat(second, "j").of(third) != []


def test_a_take_that_is_listed_twice_is_two_contents() -> None:
    once: list[Any] = [(arguments(), {})]

    [first] = contents_of("drops", SONG, SIDECAR, once)
    both = contents_of("drops", SONG, SIDECAR, once * 2)

    assert first == both[0]
    assert both[0] != both[1]


def test_the_order_of_takes_does_not_matter() -> None:
    takes: list[Any] = [(arguments(seed=seed), {}) for seed in (1, 2, 3)]

    found = contents_of("drops", SONG, SIDECAR, takes)
    turned = contents_of("drops", SONG, SIDECAR, takes[::-1])

    assert found == turned[::-1]


@pytest.mark.parametrize(
    ("fields", "images"),
    [({}, {}), (arguments(image_url="cover.png"), {})],
    ids=["wrong", "no image"],
)
def test_a_take_that_lacks_something_has_no_content(
    fields: dict[str, Any], images: dict[str, File]
) -> None:
    assert contents_of("drops", SONG, SIDECAR, [(fields, images)]) == [None]


# Marks


def marked(value: str, *, on_audio: bool = False) -> Content:
    audio = File(mark=value if on_audio else "")
    return content(audio, sidecar=File("song.json", mark="" if on_audio else value))


def test_a_mark_is_another_take_once_and_its_copies_are_that_take() -> None:
    holders = Holders(job_id=content().id).with_job(content(), "first", ())

    assert holders.of(marked("a")) == []

    both = holders.with_job(marked("a"), "second", ())
    assert [one.job_id for one in both.of(marked("a"))] == ["second", "first"]
    assert [one.job_id for one in both.of(content())] == ["second", "first"]
    assert both.of(marked("b")) == []
    assert both.of(marked("a", on_audio=True)) == []


def test_a_mark_that_another_file_had_under_this_key_asks_for_a_take_of_this_file() -> None:
    before = replace(marked("a"), files={"audio_url": {"ETag": '9 "b"'}})
    holders = Holders(job_id=content().id).with_job(before, "before", ())
    holders = holders.with_job(content(), "now", ())

    assert [one.job_id for one in holders.of(content())] == ["now"]
    assert holders.of(marked("a")) == []


def test_a_mark_whose_take_ended_without_a_video_is_no_reason_for_another() -> None:
    holders = Holders(job_id=content().id).with_job(content(), "first", ())
    both = holders.with_job(marked("a"), "failed", {"failed"})

    assert [one.job_id for one in both.of(marked("a"))] == ["failed", "first"]


@example([(0, True), *[(1, False)] * MAX_HOLDERS])
@example([(0, True)] * (MAX_HOLDERS + 1))
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_few_jobs_are_remembered_and_those_without_a_video_go_first(
    jobs: list[tuple[int, bool]],
) -> None:
    holders, ended = Holders(job_id=content().id), set[str]()
    for number, (bytes_, is_alive) in enumerate(jobs):
        made = content(File(proofs={"ETag": f"9 {bytes_}"}))
        holders = holders.with_job(made, str(number), ended)
        ended |= set() if is_alive else {str(number)}

    kept = [one.job_id for one in holders.holders]
    alive = [str(number) for number, (_, is_alive) in enumerate(jobs) if is_alive]
    assert len(kept) <= MAX_HOLDERS
    assert kept[-1:] == [str(number) for number in range(len(jobs))][-1:]
    assert holders.revision == len(jobs)
    assert len(alive) > MAX_HOLDERS - 1 or set(alive) <= set(kept)


@pytest.mark.parametrize("page", ["guarantees", "reference"])
def test_the_docs_say_how_many_jobs_are_remembered(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()

    assert f"Phonoscene remembers the newest {MAX_HOLDERS} jobs" in text
