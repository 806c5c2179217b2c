"""The benchmark itself: its servers verify, its meter counts, its simulated drain keeps order."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import capacity, meter, report, warm
from benchmarks.drain import Drained, drain, hours, ideal_hours
from benchmarks.figures import Row, Sample, Section
from benchmarks.growth import an_item, ready_job
from benchmarks.prices import PRICES
from benchmarks.transfer.ground import CopyFailedError, ground
from benchmarks.transfer.pattern import PERIOD, is_film, piece, place_of
from benchmarks.transfer.sink import Part, WrongBytesError, length_of
from benchmarks.transfer.ways import WAYS
from benchmarks.transfer.wire import Network
from local.paths import PROJECT
from tests.support.fakes.world import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.transfer.ground import Ground

SMALL = 100_000
PARTS = 12 * 1024 * 1024 + 5  # above S3's least size of a part: it goes in several


def video_part(offset: int, length: int) -> bytearray:
    return bytearray(piece(offset, length))


# the transfer's servers


@pytest.fixture(scope="module")
def servers() -> Iterator[Ground]:
    with ground(Network()) as running:
        yield running


@pytest.mark.parametrize("size", [SMALL, PARTS])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_copies_the_whole_video(servers: Ground, way: str, size: int) -> None:
    copied = servers.copy(way, size, "whole")

    assert copied.peak >= copied.before > 0


def test_a_copy_that_fails_is_no_figure(servers: Ground) -> None:
    with pytest.raises(CopyFailedError):
        servers.copy("no such way", SMALL, "none")


@given(st.integers(0, 3 * PERIOD), st.integers(32, 5000))
def test_any_range_of_the_video_is_recognised(offset: int, length: int) -> None:
    body = video_part(offset, length)

    assert place_of(bytes(body[:32])) == offset % PERIOD
    assert is_film(body, offset)


@given(st.integers(0, 3 * PERIOD), st.integers(32, 5000), st.data())
def test_one_other_byte_is_noticed(offset: int, length: int, data: st.DataObject) -> None:
    body = video_part(offset, length)
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1

    assert not is_film(body, offset)


def test_parts_that_changed_places_are_noticed() -> None:
    first, second = Part.of(video_part(0, 5000)), Part.of(video_part(5000, 5000))

    assert length_of([first, second]) == 10_000
    with pytest.raises(WrongBytesError):
        length_of([second, first])


def test_a_part_that_is_none_of_the_videos_is_refused() -> None:
    with pytest.raises(WrongBytesError):
        Part.of(bytearray(5000))


# the meter

ROLE = "AWS4-HMAC-SHA256 Credential=ASIAROLE/20261124/us-east-1/{}/aws4_request, Signature=0"
DROPPER = ROLE.replace("ASIAROLE", "test")
AT = "[2026-11-24 12:00:00 +0000] [1] [INFO] "


def line(method: str, target: str, operation: str = "-", authorization: str = "-") -> str:
    return f"{AT}{method}\t{target}\t{operation}\t{authorization}"


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (
            line("POST", "/", "DynamoDB_20120810.GetItem", ROLE.format("dynamodb")),
            "dynamodb GetItem",
        ),
        (line("PUT", "/b/k?uploadId=u&partNumber=2", "-", ROLE.format("s3")), "s3 UploadPart"),
        (line("POST", "/b/k?uploads", "-", ROLE.format("s3")), "s3 CreateMultipartUpload"),
        (line("GET", "/b?list-type=2&prefix=a", "-", ROLE.format("s3")), "s3 ListObjectsV2"),
        (line("HEAD", "/b/a%20key", "-", ROLE.format("s3")), "s3 HeadObject"),
        (line("GET", "/b/k?X-Amz-Signature=0"), "fal GET"),
        (line("POST", "/webhooks/fal/job/token"), "webhook"),
        (line("PUT", "/b/k", "-", DROPPER.format("s3")), "dropper s3 PutObject"),
    ],
)
def test_each_request_is_counted_as_what_it_was(answer: str, counted: str) -> None:
    assert meter.requests([answer]) == {counted: 1}


def test_what_the_benchmark_asks_for_itself_is_not_counted() -> None:
    looked = line("POST", "/", "DynamoDB_20120810.Scan", DROPPER.format("dynamodb"))

    assert meter.requests([looked]) == {}


def test_a_report_line_gives_gigabyte_seconds_and_is_no_line_of_ours() -> None:
    logged = meter.Logged()

    logged.add({"message": "REPORT RequestId: 1\tBilled Duration: 1500 ms\tMemory Size: 512 MB"})
    logged.add({"message": '{"message": "job.submitted"}'})

    assert (logged.invocations, logged.gb_seconds, logged.lines) == (1, 0.75, 1)


def test_all_that_is_metered_has_a_price() -> None:
    metered = set(meter.amounts(meter.requests([]), meter.Logged(), 0))

    assert metered | {capacity.READS, capacity.WRITES} == set(PRICES)


# DynamoDB's units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (4096, 4)])
def test_a_write_costs_a_unit_for_each_kb_begun(size: int, units: int) -> None:
    assert capacity.write_units(size) == units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (4096, 1), (4097, 2)])
def test_a_read_costs_a_unit_for_each_4_kb_begun(size: int, units: int) -> None:
    assert capacity.read_units(size) == units


def test_an_index_costs_only_where_its_entry_changes() -> None:
    item = an_item(ready_job())
    indexes = capacity.index_units({}, item)
    later = item | {"dispatch_at": {"S": "2026-11-22T12:00:00.000Z"}}

    assert indexes > 0
    assert capacity.index_units(item, item) == 0
    assert capacity.index_units(item, later) == 2  # the old entry goes, the new one comes
    assert capacity.index_units(item, {}) == indexes


def test_a_transaction_costs_twice() -> None:
    item = {"job_id": {"S": "1"}}
    table = capacity.MeteredTable()

    table.answer("PutItem", {"Item": item})
    table.answer("TransactWriteItems", {"TransactItems": [{"Put": {"Item": item}}]})

    assert table.units["", capacity.WRITES] == 3


# the worlds


@pytest.fixture(scope="module")
def drained() -> Drained:
    load()
    return drain(jobs=40, concurrency=2, slots=4)


def test_a_drain_never_takes_more_slots_than_there_are(drained: Drained) -> None:
    assert drained.most_in_flight == 4
    assert max(drained.peaks.values()) <= 8


def test_a_drain_leaves_no_runner_idle_and_no_job_behind(drained: Drained) -> None:
    assert drained.idle == pytest.approx(0, abs=0.001)
    assert drained.overtaken < drained.slots


@given(st.integers(1, 10**6), st.integers(1, 40), st.floats(0, 0.5))
def test_no_drain_is_faster_than_fal(jobs: int, concurrency: int, idle: float) -> None:
    assert hours(jobs, concurrency, idle) > ideal_hours(jobs, concurrency)


def test_a_job_makes_the_same_calls_however_many_there_are() -> None:
    load()
    few, more = (warm.a_job(warm.run(jobs).calls, jobs) for jobs in (3, 6))

    assert few == more
    assert few["webhook: SendMessage"] == 1


# the report


def test_a_goal_is_met_up_to_its_limit() -> None:
    rows = [Row.at_most("a", (ours, "x"), (2.0, "y"), 1.5) for ours in (3.0, 3.1)]

    assert [row.met for row in rows] == ["yes", "**no**"]
    assert rows[0].ratio.startswith("1.50")


def test_a_sample_tells_its_median_and_its_spread() -> None:
    sample = Sample.of([3, 1, 2])

    assert sample.formatted(str) == "2 (1 to 3)"
    assert replace(sample, values=(7.0,)).formatted(str) == "7.0"


def test_the_report_holds_every_row_and_what_fell_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "described", lambda: ["a machine"])
    section = Section("A part", [Row.held("a row", "2", "≤ 1", is_met=False)], ["a note"])

    answer = report.markdown([section], ["a word"])

    assert all(
        word in answer for word in ("a machine", "a word", "A part", "| a row | 2 |", "a note")
    )
    assert report.unmet([section]) == ["a row"]


@pytest.mark.parametrize(("breaks", "code"), [(False, 0), (True, 1)])
def test_the_exit_code_tells_whether_it_could_be_measured(
    monkeypatch: pytest.MonkeyPatch, breaks: bool, code: int
) -> None:
    missed = Section("A part", [Row.held("a row", "2", "≤ 1", is_met=False)])

    def measure() -> Section:
        if breaks:
            raise TimeoutError
        return missed

    monkeypatch.setattr(command, "import_module", lambda _: Module(measure))

    assert command.main(["--only", "cold", "--json"]) == code


class Module:
    def __init__(self, measure: Any) -> None:
        self.measure = measure


def test_the_command_line_explains_itself_and_refuses_what_it_does_not_know() -> None:
    asked = [[sys.executable, "-m", "benchmarks", word] for word in ("--help", "--fast")]
    result = [
        subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603
        for words in asked
    ]

    assert [one.returncode for one in result] == [0, 2]
    assert "exit codes" in result[0].stdout
    assert all(part in result[0].stdout for part in command.PARTS)
