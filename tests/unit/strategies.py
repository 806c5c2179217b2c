"""Hypothesis strategies for jobs and their parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from phonoscene.jobs import (
    Actual,
    Audio,
    DropObject,
    ErrorDetail,
    Estimate,
    Job,
    JobCost,
    JobStatus,
    Request,
    Reservation,
    Scene,
    Segment,
    Sequence,
    Step,
    Unusable,
    Video,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
counts = st.integers(0, 2**63)
times = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the zone is given below
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45))),
).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
numbers = st.floats(0, 1e9).filter(lambda number: number == 0 or number > 1e-100)
money = st.decimals("0", "1000", places=4)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=4,
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


pins = st.builds(DropObject, key=keys, version_id=keys)
actuals = st.builds(
    Actual,
    source=st.sampled_from(["billable_units", "frames", "duration", "size"]),
    width=counts,
    height=counts,
    frames=counts,
    megapixels=money,
    lower_usd=money,
    upper_usd=money,
)
ids = st.text("0123456789abcdef", min_size=32, max_size=32)
sounds = st.builds(
    Audio,
    key=keys,
    version_id=keys,
    bytes=counts,
    seconds=maybe(numbers),
    format=maybe(keys),
    codec=maybe(keys),
)
errors = st.builds(
    ErrorDetail,
    code=keys,
    message=texts,
    field=maybe(texts),
    value=maybe(texts),
    allowed=maybe(texts),
    source=maybe(keys),
    categories=maybe(st.lists(keys, max_size=2).map(tuple)),
    retryable=st.booleans(),
)
sequences = st.builds(
    Sequence,
    fps=st.floats(1, 60),
    is_chained=st.booleans(),
    scenes=st.lists(
        st.builds(
            Scene,
            start=numbers,
            arguments=st.dictionaries(keys, json_values, max_size=2),
            images=st.dictionaries(keys, pins, max_size=1),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    segments=st.lists(
        st.builds(
            Segment,
            scene=st.just(0),
            first=st.integers(0, 9_999),
            frames=st.integers(9, 481),
            slice=maybe(sounds),
            job_id=maybe(ids),
            status=maybe(st.sampled_from(JobStatus)),
            request_id=maybe(keys),
            is_sent=st.booleans(),
            is_reused=st.booleans(),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
)
#: Of each field of a job; ``padding`` is left out, because its note needs ``num_frames``.
fields: dict[str, st.SearchStrategy[Any]] = {
    "job_id": ids,
    "name": keys,
    "status": st.sampled_from(JobStatus),
    "bucket": keys,
    "audio": maybe(sounds),
    "sidecar": maybe(pins),
    "images": st.dictionaries(keys, pins, max_size=2),
    "arguments": st.dictionaries(keys, json_values, max_size=3),
    "metadata": st.dictionaries(keys, texts, max_size=2),
    "take": maybe(counts),
    "unused_metadata": st.integers(0, 2),
    "estimate": maybe(
        st.builds(
            Estimate,
            width=counts,
            height=counts,
            frames=counts,
            megapixels=money,
            usd_per_megapixel=maybe(money),
            lower_usd=money,
            upper_usd=money,
        )
    ),
    "sequence": maybe(sequences),
    "spent": maybe(
        st.builds(
            JobCost,
            lower_usd=money,
            upper_usd=money,
            delivered_usd=maybe(money),
            billed_usd=maybe(money),
            may_be_billed=st.booleans(),
        )
    ),
    "part_of": maybe(ids),
    "part": maybe(counts),
    "wanted_by": st.frozensets(ids, max_size=2),
    "unusable": maybe(st.builds(Unusable, since=times, error=errors)),
    "actual": maybe(actuals),
    "duplicate_actuals": st.lists(actuals, max_size=2).map(tuple),
    "attempt": st.integers(0, 9),
    "refusals": st.integers(0, 9),
    "account_refusals": st.integers(0, 9),
    "uploads_failed": st.integers(0, 9),
    "reservation": maybe(st.builds(Reservation, day=keys, usd=money)),
    "token_hashes": st.lists(keys, max_size=2).map(tuple),
    "request": maybe(
        st.builds(
            Request,
            request_id=keys,
            status_url=maybe(keys),
            response_url=maybe(keys),
            cancel_url=maybe(keys),
        )
    ),
    "start_timeout": maybe(counts),
    "output_lifetime": maybe(counts),
    "source_url": maybe(keys),
    "video_flaws": st.frozensets(keys, max_size=2),
    "reported": st.dictionaries(keys, json_values, max_size=2),
    "video": maybe(
        st.builds(
            Video,
            bucket=keys,
            key=keys,
            version_id=keys,
            bytes=counts,
            sha256=keys,
            content_type=keys,
            stable_keys=st.lists(keys, max_size=2).map(tuple),
            width=maybe(counts),
            height=maybe(counts),
            fps=maybe(numbers),
            frames=maybe(counts),
            duration=maybe(numbers),
            seconds=maybe(numbers),
            sound_seconds=maybe(numbers),
        )
    ),
    "seed": maybe(
        st.sampled_from([0, 1, 2**63 - 1, 2**63, 17454220438242315174, 2**64 - 1])
        | st.integers(0, 2**64 - 1)
    ),
    "prompt_used": maybe(texts),
    "errors": st.lists(errors, max_size=2).map(tuple),
    "duplicate_requests": st.frozensets(keys, max_size=2),
    "repeats": st.integers(0, 9),
    "unused_sidecars": st.frozensets(keys, max_size=2),
    "waits_for": maybe(st.sampled_from(["slot", "cdn", "budget", "account", "fal"])),
    "missing_image": maybe(keys),
    "waits_until": maybe(times),
    "unanswered_since": maybe(times),
    "problem": maybe(keys),
    "unreadable_results": maybe(counts),
    "resubmitted": st.booleans(),
    "revision": st.integers(0, 9),
    "phonoscene_version": maybe(keys),
    "dropped_at": maybe(times),
    "history": st.lists(
        st.builds(Step, status=st.sampled_from(JobStatus), at=times), max_size=3
    ).map(tuple),
    "created_at": times,
    "updated_at": times,
}
jobs = st.builds(Job, **fields)
