"""Which keys are audio, which sidecar is whose, and where outputs go: of keys alone."""

from __future__ import annotations

import re
import unicodedata
from itertools import combinations, permutations
from random import Random
from time import process_time
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from phonoscene.drops.keys import (
    AUDIO_SUFFIXES,
    CONTENT_TYPES,
    IMAGE_SUFFIXES,
    MAX_KEY_BYTES,
    Kind,
    beside,
    defaults_keys,
    family_prefixes,
    half_id,
    is_defaults,
    is_of_one,
    job_id,
    kind_of,
    name_of,
    output_key,
    pointer_key,
    receipt_key,
    stable_keys,
    suffix_of,
    unsafe,
)
from phonoscene.drops.near_names import alone
from phonoscene.drops.pairing import Pairing, pairings, unsupported_pairings
from phonoscene.jobs import Audio, DropObject
from tests.support.jobs import a_job

SUFFIXES = [".mp3", ".wav", ".flac", ".m4a", ".aac", ".ogg", ".oga", ".opus"]


@pytest.mark.parametrize("suffix", [*AUDIO_SUFFIXES, *IMAGE_SUFFIXES])
def test_every_file_that_may_be_handed_over_has_a_content_type(suffix: str) -> None:
    kind = "audio" if suffix in AUDIO_SUFFIXES else "image"

    assert CONTENT_TYPES[suffix_of(f"a.b/song.mp4{suffix.upper()}")].startswith(f"{kind}/")
    assert len(CONTENT_TYPES) == len({*AUDIO_SUFFIXES, *IMAGE_SUFFIXES})


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("stem", ["song", "a/b/song", "a b+c%20", "übung", "日本", "song.mp3", "s"])
def test_a_key_with_an_audio_suffix_in_any_case_is_audio(stem: str, suffix: str) -> None:
    spellings = [suffix, suffix.upper(), suffix.title(), suffix[:-1] + suffix[-1].upper()]

    assert {kind_of(stem + spelling) for spelling in spellings} == {Kind.AUDIO}


@pytest.mark.parametrize(
    "key", ["song.json", "a/song.json", "song.mp3.json", "ü.json", "song.json.json", "a.b.json"]
)
@pytest.mark.parametrize("suffix", [".json", ".JSON", ".Json", ".jSON"])
def test_a_json_file_is_a_sidecar_in_any_case(key: str, suffix: str) -> None:
    assert kind_of(key.removesuffix(".json") + suffix) is Kind.SIDECAR


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a/",
        "a/b.mp3/",
        ".mp3",
        ".json",
        "a/.song.mp3",
        "a/.song.json",
        "_song.mp3",
        "_defaults.json",
        "a/_defaults.json",
        "song.mp3.part",
        "song.mp3.tmp",
        "song.json.tmp",
        "song.txt",
        "song.mp4",
        "song.mp33",
        "song",
        "mp3",
        "songmp3",
        "song.mp3 ",
        "cover.png",
    ],
)
def test_any_other_name_is_ignored(key: str) -> None:
    assert kind_of(key) is Kind.IGNORED


PRIVATE_FOLDERS = [
    ".git",
    "_drafts",
    "._x",
    "__MACOSX",
    "@eaDir",
    "@EADIR",
    "$RECYCLE.BIN",
    "$Recycle.Bin",
    "#recycle",
    "#Recycle",
    "@Recycle",
    "@Recently-Snapshot",
    "#snapshot",
]


@pytest.mark.parametrize("name", ["song.mp3", "song.json", "song.MP3.JSON"])
@pytest.mark.parametrize("path", ["{}/{}", "a/{}/{}", "{}/a/b/{}", "a/{}/b/{}"])
@pytest.mark.parametrize("folder", PRIVATE_FOLDERS)
def test_what_is_in_a_private_or_a_systems_folder_is_ignored_at_any_depth(
    folder: str, path: str, name: str
) -> None:
    assert kind_of(path.format(folder, name)) is Kind.IGNORED


@pytest.mark.parametrize(
    "folder", ["a_", "a.", "eaDir", "@eaDir2", "recycle", "#recycle2", "a/MACOSX", "...", ".", ".."]
)
def test_what_is_in_any_other_folder_is_looked_at(folder: str) -> None:
    expected = Kind.IGNORED if folder == "..." else Kind.AUDIO

    assert kind_of(f"{folder}/song.mp3") is expected


def test_a_folders_suffix_says_nothing_of_its_files() -> None:
    assert kind_of("a.mp3/readme.txt") is Kind.IGNORED


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_a_control_character_in_a_key_is_unsafe(code: int) -> None:
    assert unsafe(f"a/so{chr(code)}ng.mp3") == "it contains a control character"


@pytest.mark.parametrize("key", ["../song.mp3", "a/../song.mp3", "a/./song.mp3", "./song.mp3"])
def test_a_folder_that_http_clients_fold_away_is_unsafe(key: str) -> None:
    assert unsafe(key) == "it has a part named `.` or `..`"


@pytest.mark.parametrize(
    "key", ["a b+c%2F.mp3", "日本/ü.mp3", "a/.../song.mp3", "a..b.mp3", "a//b.mp3", "\u00a0.mp3"]
)
def test_an_unusual_key_is_safe(key: str) -> None:
    assert unsafe(key) is None


# Pairing, case by case: the keys that are there, the key of the event, what is to be done.
TABLE: list[tuple[str, str, list[Pairing]]] = [
    ("song.mp3", "song.mp3", [Pairing("song.mp3", None)]),
    ("song.json", "song.json", [Pairing(None, "song.json")]),
    ("song.mp3 song.json", "song.mp3", [Pairing("song.mp3", "song.json")]),
    ("song.mp3 song.json", "song.json", [Pairing("song.mp3", "song.json")]),
    ("song.mp3 song.mp3.json", "song.mp3", [Pairing("song.mp3", "song.mp3.json")]),
    ("song.MP3 song.json", "song.json", [Pairing("song.MP3", "song.json")]),
    # the longer name wins, and the shorter one is left over
    *(
        (
            "song.mp3 song.json song.mp3.json",
            event,
            [Pairing("song.mp3", "song.mp3.json", (), ("song.json",))],
        )
        for event in ("song.mp3", "song.mp3.json", "song.json")
    ),
    (
        "song.mp3 song.mp3.json song.wav song.wav.json song.json",
        "song.json",
        [
            Pairing("song.mp3", "song.mp3.json", (), ("song.json",)),
            Pairing("song.wav", "song.wav.json", (), ("song.json",)),
        ],
    ),
    # a suffix in capitals is the same suffix; in small letters it goes first
    ("song.mp3 song.JSON", "song.JSON", [Pairing("song.mp3", "song.JSON")]),
    ("song.MP3 song.MP3.Json", "song.MP3", [Pairing("song.MP3", "song.MP3.Json")]),
    *(
        (
            "song.mp3 song.json song.JSON",
            event,
            [Pairing("song.mp3", "song.json", (), ("song.JSON",))],
        )
        for event in ("song.mp3", "song.json", "song.JSON")
    ),
    # two audio files claim one sidecar
    ("song.mp3 song.wav song.json", "song.mp3", [Pairing("song.mp3", "song.json", ("song.wav",))]),
    (
        "song.mp3 song.wav song.json",
        "song.json",
        [
            Pairing("song.mp3", "song.json", ("song.wav",)),
            Pairing("song.wav", "song.json", ("song.mp3",)),
        ],
    ),
    ("song.mp3 song.MP3 song.json", "song.MP3", [Pairing("song.MP3", "song.json", ("song.mp3",))]),
    # a longer name of its own takes an audio file out of the tie
    ("song.mp3 song.wav song.json song.wav.json", "song.json", [Pairing("song.mp3", "song.json")]),
    (
        "song.mp3 song.wav song.json song.wav.json",
        "song.wav",
        [Pairing("song.wav", "song.wav.json")],
    ),
    # two audio files that wait for any sidecar are no tie
    ("song.mp3 song.wav", "song.mp3", [Pairing("song.mp3", None)]),
    # one sidecar, by its longer name of one audio file and by its shorter name of another
    (
        "song.mp3 song.mp3.wav song.mp3.json",
        "song.mp3.json",
        [
            Pairing("song.mp3", "song.mp3.json", ("song.mp3.wav",)),
            Pairing("song.mp3.wav", "song.mp3.json", ("song.mp3",)),
        ],
    ),
    (
        "song.json.mp3 song.json.json",
        "song.json.json",
        [Pairing("song.json.mp3", "song.json.json")],
    ),
    # neighbours that are no one's drop
    ("song.mp3 .song.mp3 song.json", "song.json", [Pairing("song.mp3", "song.json")]),
    ("song.mp3 song.mp3.part songs.json song2.json", "song.mp3", [Pairing("song.mp3", None)]),
    # the event's object has gone
    ("song.json", "song.mp3", []),
    ("", "song.json", []),
]


@pytest.mark.parametrize("folder", ["", "a/", "日本 +%/b.mp3/"])
@pytest.mark.parametrize(("present", "key", "expected"), TABLE)
def test_a_drop_is_paired(folder: str, present: str, key: str, expected: list[Pairing]) -> None:
    keys = {folder + name for name in present.split()}

    found = pairings(folder + key, keys)

    assert found == [
        Pairing(
            pairing.audio and folder + pairing.audio,
            pairing.sidecar and folder + pairing.sidecar,
            tuple(folder + rival for rival in pairing.rivals),
            tuple(folder + sidecar for sidecar in pairing.unused),
        )
        for pairing in expected
    ]


ADVERSARIAL = [
    "song.mp3",
    "song.MP3",
    "song.wav",
    "song.json",
    "song.mp3.json",
    "song.MP3.json",
    "song.mp3.wav",
    "song.mp3.wav.json",
    "song.wav.json",
    "song.wav.mp3",
    "song.json.json",
    "song.json.mp3",
    "song.JSON",
    ".song.mp3",
    ".song.json",
    "_song.mp3",
    "_defaults.json",
    "song",
    "song.",
    "song..mp3",
    "song..json",
    "song.mp3.part",
    "songs.mp3",
    "so.ng.mp3",
    "so.json",
    "s.mp3",
    ".mp3",
    ".json",
    "übung.mp3",
    "übung.json",
    "a b.mp3",
    "a b.json",
    "a+b.mp3",
    "a+b.json",
    "a%20b.mp3",
    "a%20b.json",
    "song.mp3/song.mp3",
    "song.mp3/song.json",
    "f/song.mp3",
    "f/song.json",
    "f/song.wav",
    "f/",
    "song.mp3/",
]
sets_of_keys = st.frozensets(st.sampled_from(ADVERSARIAL), min_size=1, max_size=14)
drops = st.sampled_from([key for key in ADVERSARIAL if kind_of(key) is not Kind.IGNORED])


@given(sets_of_keys, drops)
def test_a_pairing_needs_only_the_keys_under_the_family_prefix(
    keys: frozenset[str], key: str
) -> None:
    family = {other for other in keys | {key} if other.startswith(family_prefixes(key))}

    assert pairings(key, family) == pairings(key, keys | {key})


@given(sets_of_keys)
def test_each_audio_file_has_its_longer_named_sidecar_or_else_its_shorter_named_one(
    keys: frozenset[str],
) -> None:
    for audio in [key for key in keys if kind_of(key) is Kind.AUDIO]:
        [pairing] = pairings(audio, keys)

        stems = (audio, audio.rpartition(".")[0])
        wanted = [stem + suffix for stem in stems for suffix in (".json", ".JSON")]
        expected = next((key for key in wanted if key in keys), None)
        assert (pairing.audio, pairing.sidecar) == (audio, expected)
        assert pairing.is_whole is (expected is not None)


@given(sets_of_keys)
def test_rivals_are_each_others_rivals(keys: frozenset[str]) -> None:
    found = {key: pairings(key, keys)[0] for key in keys if kind_of(key) is Kind.AUDIO}

    for one, other in combinations(found, 2):
        shared = found[one].sidecar is not None and found[one].sidecar == found[other].sidecar
        assert (other in found[one].rivals) is (one in found[other].rivals) is shared


@given(sets_of_keys)
def test_a_sidecars_pairings_are_those_of_the_audio_files_that_claim_it(
    keys: frozenset[str],
) -> None:
    audios = [pairings(key, keys)[0] for key in sorted(keys) if kind_of(key) is Kind.AUDIO]

    for sidecar in [key for key in keys if kind_of(key) is Kind.SIDECAR]:
        claimed = [pairing for pairing in audios if pairing.sidecar == sidecar]
        left_over = [pairing for pairing in audios if sidecar in pairing.unused]

        assert not (claimed and left_over)
        assert pairings(sidecar, keys) == (claimed or left_over or [Pairing(None, sidecar)])


@given(sets_of_keys)
def test_both_halves_of_a_pair_have_the_same_name_and_family(keys: frozenset[str]) -> None:
    for key in keys:
        for pairing in pairings(key, keys) if kind_of(key) is not Kind.IGNORED else ():
            others = (*pairing.rivals, *pairing.unused)
            halves = [half for half in (pairing.audio, pairing.sidecar, *others) if half]

            assert len({name_of(half) for half in halves}) == 1
            assert all(
                half.startswith(family_prefixes(other)) for half in halves for other in halves
            )


@given(sets_of_keys, drops)
def test_a_drop_is_never_paired_across_folders(keys: frozenset[str], key: str) -> None:
    for pairing in pairings(key, keys | {key}):
        halves = (pairing.audio, pairing.sidecar, *pairing.rivals)

        assert {half.rpartition("/")[0] for half in halves if half} == {key.rpartition("/")[0]}


@given(drops)
def test_a_name_keeps_its_folder_and_is_never_empty(key: str) -> None:
    name = name_of(key)

    assert name.rpartition("/")[0] == key.rpartition("/")[0]
    assert name.rpartition("/")[2]


# Spellings of one name


def spelled(form: Any, text: str) -> str:
    return unicodedata.normalize(form, text)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1)
NAMES_WITH_ACCENTS = ["café", "Événement/café", "ガ", "각", "a/ü.b/Ångström", "é.mp3"]


@pytest.mark.parametrize("name", NAMES_WITH_ACCENTS)
@pytest.mark.parametrize("audio_form", ["NFC", "NFD"])
@pytest.mark.parametrize("sidecar_form", ["NFC", "NFD"])
@pytest.mark.parametrize("sidecar", ["{}.json", "{}.wav.json"])
def test_a_name_is_the_same_composed_and_decomposed(
    name: str, audio_form: str, sidecar_form: str, sidecar: str
) -> None:
    audio = spelled(audio_form, f"{name}.wav")
    other = spelled(sidecar_form, sidecar.format(name))

    for key in (audio, other):
        assert pairings(key, {audio, other}) == [Pairing(audio, other)]
        assert audio.startswith(family_prefixes(key))
        assert other.startswith(family_prefixes(key))
    assert name_of(audio) == name_of(other)
    assert unicodedata.is_normalized("NFC", name_of(audio))


def test_a_folder_and_a_file_in_it_may_be_spelled_in_different_ways() -> None:
    folder, file = "Événement", "café"
    keys = [
        f"{spelled(one, folder)}/{spelled(other, file)}.{suffix}"
        for one in ("NFC", "NFD")
        for other in ("NFC", "NFD")
        for suffix in ("wav", "json")
    ]

    for audio in keys[::2]:
        for sidecar in keys[1::2]:
            assert pairings(audio, {audio, sidecar}) == [Pairing(audio, sidecar)]
            assert sidecar.startswith(family_prefixes(audio))
            assert audio.startswith(family_prefixes(sidecar))


def test_of_two_spellings_of_a_sidecar_the_audio_files_own_counts() -> None:
    audio = spelled("NFD", "café.wav")
    own, other = spelled("NFD", "café.json"), spelled("NFC", "café.json")

    for key in (audio, own, other):
        assert pairings(key, {audio, own, other}) == [Pairing(audio, own, (), (other,))]


@pytest.mark.parametrize("sidecars", [("song.JSON", "song.Json"), ("song.mp3.JSON", "song.Json")])
def test_the_same_sidecar_counts_in_whatever_order_the_keys_are_listed(
    sidecars: tuple[str, str],
) -> None:
    counts, other = sidecars

    for keys in permutations(("song.mp3", *sidecars)):
        listed = dict.fromkeys(keys)
        assert pairings("song.mp3", listed) == [Pairing("song.mp3", counts, (), (other,))]


@pytest.mark.parametrize("name", ["song", "a/b/song", "a b+c%20", "日本"])
def test_a_name_that_has_one_spelling_is_listed_once(name: str) -> None:
    assert family_prefixes(f"{name}.mp3.json") == (f"{name}.",)


@given(names, names)
def test_no_name_takes_more_than_nine_listings(folder: str, name: str) -> None:
    prefixes = family_prefixes(f"{folder}/{name}.json")

    assert 1 <= len(prefixes) <= 9
    assert {unicodedata.normalize("NFC", one) for one in prefixes} == {
        unicodedata.normalize("NFC", prefixes[0])
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(1, 1020))
@example("\U0001d163", 1020)
def test_a_name_is_never_longer_than_the_table_can_index(text: str, times: int) -> None:
    key = (text * times).encode()[:1020].decode(errors="ignore") + ".mp3"

    assert len(name_of(key).encode()) <= 1024


@pytest.mark.parametrize(
    ("sidecar", "audio", "is_its_own"),
    [
        ("a/song.mp3.json", "a/song.mp3", True),
        ("a/song.mp3.JSON", "a/song.mp3", True),
        ("a/caf\u00e9.mp3.json", "a/cafe\u0301.mp3", True),
        ("a/song.json", "a/song.mp3", False),
        ("a/song.mp3.json", "a/song.mp3.wav", False),
        ("b/song.mp3.json", "a/song.mp3", False),
    ],
)
def test_a_sidecar_with_the_whole_name_of_an_audio_file_is_its_alone(
    sidecar: str, audio: str, is_its_own: bool
) -> None:
    assert is_of_one(sidecar, audio) is is_its_own


@pytest.mark.parametrize(
    ("key", "is_one"),
    [("_defaults.json", True), ("a/_defaults.json", True), ("a/my_defaults.json", False)],
)
def test_only_a_file_of_that_very_name_holds_defaults(key: str, is_one: bool) -> None:
    assert is_defaults(key) is is_one


@pytest.mark.parametrize("folder", ["Événement", "a/é"])
def test_defaults_hold_for_a_folder_however_it_is_spelled(folder: str) -> None:
    key = spelled("NFD", f"{folder}/song.mp3")

    found = defaults_keys(key)

    assert found[0] == spelled("NFD", f"{folder}/_defaults.json")
    assert spelled("NFC", f"{folder}/_defaults.json") in found
    assert found[-1] == "_defaults.json"


# Keys of other things


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("song.mp3", ["_defaults.json"]),
        ("a/song.mp3", ["a/_defaults.json", "_defaults.json"]),
        ("a/b/song.mp3", ["a/b/_defaults.json", "a/_defaults.json", "_defaults.json"]),
        ("/song.mp3", ["/_defaults.json", "_defaults.json"]),
    ],
)
def test_defaults_are_looked_for_in_the_folder_and_every_one_above(
    key: str, expected: list[str]
) -> None:
    assert defaults_keys(key) == expected


@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [
        ("song.json", "cover.png", "cover.png"),
        ("a/song.json", "cover.png", "a/cover.png"),
        ("a/song.json", "art/cover.png", "a/art/cover.png"),
        ("/song.json", "cover.png", "/cover.png"),
        ("_defaults.json", "cover.png", "cover.png"),
    ],
)
def test_a_name_is_beside_the_file_that_mentions_it(owner: str, name: str, expected: str) -> None:
    assert beside(owner, name) == expected


parts = st.text(max_size=8)
pins = st.tuples(parts, parts)


@given(parts, pins, st.none() | pins, parts, pins, st.none() | pins)
def test_job_ids_differ_where_their_inputs_do(
    bucket: str,
    audio: tuple[str, str],
    sidecar: tuple[str, str] | None,
    other_bucket: str,
    other_audio: tuple[str, str],
    other_sidecar: tuple[str, str] | None,
) -> None:
    same = (bucket, audio, sidecar) == (other_bucket, other_audio, other_sidecar)

    one, other = job_id(bucket, audio, sidecar), job_id(other_bucket, other_audio, other_sidecar)

    assert (one == other) is same
    assert len(one) == 32
    assert set(one) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("b", ("a", "bc"), None), ("b", ("ab", "c"), None)),
        (("b", ("a", "1"), ("s", "1")), ("b", ("a", "1"), None)),
        (("b", ("a", "1"), ("s", "1")), ("b", ("s", "1"), ("a", "1"))),
        (("b", ("a", "1"), ("s", "1")), ("b", ("a", "1"), ("s", "2"))),
        (("b", ("a", "1"), ("s", "1")), ("c", ("a", "1"), ("s", "1"))),
        (("b", ("a", '1", "s'), None), ("b", ("a", "1"), ("s", ""))),
    ],
)
def test_job_ids_of_neighbours_differ(
    one: tuple[str, tuple[str, str], tuple[str, str] | None],
    other: tuple[str, tuple[str, str], tuple[str, str] | None],
) -> None:
    assert job_id(*one) != job_id(*other)


def test_ids_are_those_of_every_release() -> None:
    job = job_id("drops", ("song.mp3", "1"), ("song.json", "2"))
    half = half_id("drops", "song.mp3")

    takes = [job_id("drops", ("song.mp3", "1"), ("song.json", "2"), take) for take in (0, 1)]

    assert job == "6a60474567790a792a8f63f90df48076"
    assert takes == ["93bcf5dc525b0fae9b40b306597a6832", "2b2bbd9c084c0e999386a66ef3dbd53f"]
    assert half == "29f452e0b46d4b189d69a72924b3f4fe"


@given(parts, parts, pins)
def test_a_half_and_a_job_never_share_an_id(bucket: str, key: str, audio: tuple[str, str]) -> None:
    assert half_id(bucket, key) != job_id(bucket, audio, None)


long_names = st.builds(
    lambda text, times: (text * times).encode()[:1024].decode(errors="ignore"),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.integers(1, 400),
)
job_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(long_names, job_ids, st.sampled_from([".mp4", ".webm", ".mov", ".gif", ".json"]))
def test_an_output_key_is_one_that_s3_takes(name: str, job: str, suffix: str) -> None:
    key = output_key(name, job, suffix)

    assert len(key.encode()) <= 1024
    assert key.endswith(f"/{job}{suffix}")
    assert len(name.encode()) > 900 or key == f"{name}/{job}{suffix}"


@given(long_names, job_ids, long_names, job_ids)
def test_output_keys_of_different_jobs_differ(
    name: str, job: str, other_name: str, other_job: str
) -> None:
    assume((name, job) != (other_name, other_job))

    assert output_key(name, job, ".mp4") != output_key(other_name, other_job, ".mp4")


@given(
    long_names, st.sampled_from([".mp4", ".webm", ".mov", ".gif"]), st.none() | st.integers(1, 20)
)
def test_stable_keys_and_their_pointers_are_keys_that_s3_takes(
    name: str, suffix: str, take: int | None
) -> None:
    keys = stable_keys(name, suffix, take)

    assert len(keys) == (2 if take else 1)
    assert all(len(pointer_key(key).encode()) <= MAX_KEY_BYTES for key in keys)
    is_like_a_job = re.fullmatch("[0-9a-f]{32}", name.rpartition("/")[2])
    if len(name.encode()) < 900 and not is_like_a_job:
        assert keys[0] == name + suffix
        assert keys[1:] == ((f"{name}.{take}{suffix}",) if take else ())


@given(long_names, job_ids, long_names, st.sampled_from([".mp4", ".gif"]), st.integers(1, 20))
def test_nothing_else_of_ours_is_written_at_a_stable_key(
    name: str, job: str, other: str, suffix: str, take: int
) -> None:
    for one in (name, other, f"{other}/{job}", job, f"{other}.{take}"):
        ours = {output_key(other, job, suffix), output_key(other, job, ".json"), receipt_key(other)}
        keys = set(stable_keys(one, suffix, take))
        assert not keys & ours
        assert not {pointer_key(key) for key in keys} & (ours | keys)


def test_long_names_that_begin_alike_share_neither_a_receipt_nor_a_stable_key() -> None:
    one, other = "a" * 1020 + ".1", "a" * 1020 + ".2"

    assert receipt_key(one) != receipt_key(other)
    assert not set(stable_keys(one, ".mp4", 2)) & set(stable_keys(other, ".mp4", 2))


def test_a_file_that_is_named_like_a_jobs_id_has_another_stable_key() -> None:
    almost, like_a_job = "talks/intro/" + "0" * 31, "talks/intro/" + "0" * 32

    assert stable_keys(almost, ".mp4", None) == (f"{almost}.mp4",)
    assert stable_keys(like_a_job, ".mp4", 2) == (f"{like_a_job}.newest.mp4", f"{like_a_job}.2.mp4")


@pytest.mark.parametrize(
    ("other", "near"), [("a/songs.json", "a/songs.json"), ("a/so\nng.json", None)]
)
def test_a_name_that_can_forge_a_line_is_not_proposed(other: str, near: str | None) -> None:
    half = a_job(audio=Audio(key="a/song.mp3", version_id="1", bytes=9))

    error = alone(half, {"a/song.mp3", other})

    assert error.value == near
    assert error.message.isprintable()


def test_the_video_of_a_name_is_not_to_be_converted_to_its_audio() -> None:
    half = a_job(sidecar=DropObject(key="a/song.json", version_id="1"))
    video = {"a/song.json", "a/song.mp4"}

    assert alone(half, video).value == "a/song.mp4"
    assert alone(half, {*video, "a/song.mp4.newest.json"}).value is None


@pytest.mark.parametrize(
    ("other", "is_near"),
    [
        ("a/" + "A long title " * 15 + "part 1.json", True),
        ("a/" + "A long title " * 15 + "- part two.json", True),
        ("a/" + "A tall title " + "A long title " * 14 + "part 2.json", True),
        ("a/" + "Another name " * 16 + ".json", False),
    ],
)
def test_long_names_are_near_where_little_of_them_differs(other: str, is_near: bool) -> None:
    half = a_job(
        audio=Audio(key="a/" + "A long title " * 15 + "part 2.mp3", version_id="1", bytes=9)
    )

    assert alone(half, {other}).value == (other if is_near else None)


@pytest.mark.parametrize("letters", ["a", "ab", "abcdefgh"])
def test_a_folder_of_the_longest_names_is_looked_through_in_seconds(letters: str) -> None:
    random = Random(1)  # noqa: S311 - no secret
    names = ["".join(random.choices(letters, k=990)) + f"{n:04}" for n in range(300)]
    half = a_job(audio=Audio(key=f"{names[0]}.mp3", version_id="1", bytes=9))
    began = process_time()

    alone(half, {f"{name}.txt" for name in names[1:]})

    assert process_time() - began < 10


def test_a_recording_in_another_format_is_no_drop_where_an_audio_file_has_its_name() -> None:
    alone_there = {"a/talk.mp4"}

    assert unsupported_pairings(alone_there) == [Pairing("a/talk.mp4", None)]
    assert unsupported_pairings(alone_there | {"a/other.mp3"}) == [Pairing("a/talk.mp4", None)]
    assert unsupported_pairings(alone_there | {"a/talk.mp3"}) == []


def test_a_recording_in_another_format_takes_no_place_or_sidecar_of_an_audio_file() -> None:
    accents = {spelled("NFC", "é.mp3"), spelled("NFD", "é.mp4")}
    unused = {"a.mp4.mp3", "a.mp4.mp3.json", "a.mp4.json", "a.mp4"}

    assert unsupported_pairings(accents) == []
    assert unsupported_pairings(unused) == []


def test_a_longer_name_is_nearer_than_a_likeness_and_not_as_near_as_the_name_itself() -> None:
    half = a_job(audio=Audio(key="a/song.mp3", version_id="1", bytes=9))
    names = ["a/song.jsn", "a/song (copy).json", "a/sung.json"]

    assert [alone(half, {"a/song.mp3", *names[n:]}).value for n in range(3)] == names
