"""Every fault that the product promises to survive, and the tests that show it.

The table comes first; below it are the rows that had no test of their own elsewhere.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from phonoscene.jobs import JobStatus
from phonoscene.table.job_store import JobStore
from tests.integration.workspace import FakeCdn, RecordingClient, Workspace, result_message
from tests.support.media.samples import silence
from tests.support.stack import DROPS, JOBS, KEY_PARAMETER, OUTPUT, created, sqs
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phonoscene.fal.requests import Submission
    from tests.integration.conftest import Context
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

    Send = Callable[..., list[str]]


@dataclass(frozen=True)
class Row:
    """A fault, and what proves that it does no harm."""

    fault: str
    proofs: tuple[str, ...] = ()


def row(fault: str, **proofs: str) -> Row:
    """``file="test, another test"``; a file is named by its folder's letter, without ``test_``."""
    folders = {
        "u": "unit",
        "i": "integration",
        "c": "crash",
        "e": "e2e",
        "x": "integration/copying",
    }
    found = []
    for file, names in proofs.items():
        folder, name = file.split("_", 1)
        found += [f"tests/{folders[folder]}/test_{name}.py::{test}" for test in names.split()]
    return Row(fault, tuple(found))


ROWS: dict[int, Row] = {
    1: row(
        "S3 announces the same object more than once",
        i_intake="test_ten_announcements_of_a_drop_are_one_post",
        u_intake_orders="test_an_event_that_comes_again_after_its_job_gives_the_job_as_it_is_now",
        e_main_job="test_the_same_s3_event_ten_times_is_one_submission",
    ),
    2: row(
        "the sidecar comes first",
        i_intake="test_either_half_may_arrive_first_and_the_other_starts_the_job",
        u_intake_orders="test_in_every_order_two_halves_are_one_job",
        e_main_job="test_a_half_waits_visibly_until_the_other_comes",
    ),
    3: row(
        "the sound comes first",
        i_intake="test_either_half_may_arrive_first_and_the_other_starts_the_job",
        u_intake_orders="test_the_half_that_comes_first_waits_until_the_grace_ends",
        e_main_job="test_a_drop_of_any_kind_in_any_order_becomes_one_paid_video",
    ),
    4: row(
        "the sound is overwritten while its job is under way",
        i_fault_rows="test_an_audio_file_that_is_overwritten_under_way_is_read_as_it_was",
        i_intake="test_the_job_and_its_url_are_bound_to_the_versions_that_were_checked",
    ),
    5: row(
        "the sidecar is edited after its job was sent",
        i_fault_rows="test_a_sidecar_that_is_edited_after_the_post_is_a_take_of_its_own",
        i_takes="test_of_a_sidecar_with_another_take_only_that_one_is_a_new_job",
    ),
    6: row(
        "the sidecar never comes",
        i_reconciliation="test_a_half_whose_grace_is_over_is_handed_to_submit_until_its_wait_has_ended",
        i_names="test_a_half_that_waited_in_vain_names_what_was_wanted_and_what_is_nearly_that",
    ),
    7: row(
        "the sound never comes",
        i_reconciliation="test_a_half_whose_grace_is_over_is_handed_to_submit_until_its_wait_has_ended",
        i_names="test_a_half_that_waited_in_vain_names_what_was_wanted_and_what_is_nearly_that",
    ),
    8: row(
        "a sound of no bytes, of another kind, or too long",
        u_probe="test_what_is_not_audio_is_refused",
        i_intake="test_what_is_not_audio_is_refused_whatever_its_name "
        "test_audio_too_long_is_reported_with_the_sum_and_the_three_ways_out",
    ),
    9: row(
        "a sidecar that is no JSON, has a byte order mark, an unknown key or one twice",
        u_sidecar="test_a_file_that_is_not_one_json_object_in_utf8_is_refused "
        "test_a_byte_order_mark_is_fine test_a_key_that_is_there_twice_is_named "
        "test_a_misspelt_name_is_answered_with_the_nearest_real_one",
        i_intake="test_a_sidecar_that_cannot_be_read_is_refused_and_spends_nothing",
        e_main_job="test_a_bad_sidecar_is_rejected_with_all_its_errors_and_nothing_is_spent",
    ),
    10: row(
        "a crash after the reservation and before the POST",
        i_submission="test_a_crash_between_claim_and_post_is_not_sent_either",
        i_reconciliation="test_a_submission_whose_process_died_is_unconfirmed_and_never_sent_again "
        "test_a_silence_that_is_over_allows_one_more_submission_and_the_record_says_so",
    ),
    11: row(
        "the POST was accepted and its answer lost",
        i_fal_contract="test_an_answer_that_is_lost_is_one_post_and_unknown",
        i_submission="test_an_unknown_outcome_is_kept_and_not_sent_again",
        i_reconciliation="test_a_lost_answer_is_found_in_fals_list_by_the_mark_on_the_audios_url",
        e_webhooks_and_faults="test_a_lost_answer_is_never_sent_again_and_the_webhook_settles_it",
    ),
    12: row(
        "a crash after the POST and before its answer is written",
        i_submission="test_a_crash_before_the_answer_is_written_is_never_sent_again "
        "test_a_crash_while_the_post_is_under_way_is_never_sent_again",
        i_takes="test_a_crash_in_the_middle_of_the_posts_sends_none_of_them_twice",
    ),
    13: row(
        "fal answers the POST with 429, 500, 502, 503 or 401, or the balance is exhausted",
        i_fal_contract="test_an_error_is_one_post_and_means_what_it_says_of_acceptance",
        i_retries="test_a_locked_account_is_distinguished_from_a_bad_job_over_the_wire "
        "test_a_refused_account_pauses_everybody_and_fails_no_job "
        "test_what_fal_refused_to_take_does_not_count_as_an_attempt",
    ),
    14: row(
        "the webhook overtakes the POST's answer",
        i_submission="test_a_webhook_that_overtakes_the_answer_is_not_overwritten",
        e_webhooks_and_faults="test_a_webhook_that_overtakes_the_answer_is_no_trouble",
    ),
    15: row(
        "the webhook comes twice, or twice at once",
        i_storing="test_a_message_that_comes_twice_is_stored_once "
        "test_twins_that_copy_at_the_same_time_store_one_video",
        i_races="test_a_cancel_and_two_results_that_meet_give_back_once",
        e_webhooks_and_faults="test_a_webhook_that_comes_twice_stores_one_version",
    ),
    16: row(
        "the webhook never comes",
        i_reconciliation="test_a_request_that_ended_goes_the_way_of_its_webhook "
        "test_a_request_is_asked_about_within_two_minutes_after_its_end",
        e_ticks="test_results_without_a_webhook_are_stored_long_before_fal_may_delete_them",
    ),
    17: row(
        "a webhook that is forged, replayed, dated ahead, another customer's or another job's",
        u_webhooks="test_a_post_signed_with_another_key_is_refused "
        "test_a_genuine_post_for_another_customer_is_refused "
        "test_a_timestamp_beyond_300_seconds_is_refused "
        "test_a_signed_body_that_does_not_name_its_request_once_is_refused",
        i_webhook_handler="test_whatever_is_wrong_the_answer_is_the_same_401_and_nothing_is_queued",
        i_storing="test_a_message_without_the_jobs_own_token_changes_nothing",
        e_webhooks_and_faults="test_a_forged_webhook_is_answered_401_and_says_no_more",
    ),
    18: row(
        "fal's key set is down, rotated, slow, or without padding",
        u_webhooks="test_a_key_is_read_with_and_without_padding "
        "test_a_rotated_key_is_fetched_when_the_first_post_that_it_signed_arrives",
        i_webhook_handler="test_without_keys_no_webhook_is_accepted_and_fal_is_asked_to_try_again "
        "test_keys_that_cannot_be_refreshed_serve_for_a_day_and_no_longer",
    ),
    19: row(
        "a webhook that could not carry its payload, of a success and of a failure",
        u_results="test_an_output_that_fal_could_not_serialise_must_be_fetched "
        "test_a_failure_that_fal_could_not_serialise_is_a_failure",
        i_storing="test_a_result_that_the_webhook_could_not_carry_is_fetched",
    ),
    20: row(
        "a request that is COMPLETED, with an error",
        i_reconciliation="test_a_completed_request_whose_run_failed_is_an_error",
    ),
    21: row(
        "the result cannot be fetched: 504",
        i_fal_contract="test_a_result_that_cannot_be_had_now_is_asked_for_again",
        i_storing="test_a_result_that_cannot_be_fetched_now_is_not_a_failure",
        i_reconciliation="test_an_error_that_is_not_the_runs_own_word_fails_no_paid_video",
    ),
    22: row(
        "a video that is refused, gone, redirected, too large, cut off, slow, of another kind, or "
        "without ranges",
        x_broken_connections="test_an_error_of_the_cdn_is_tried_again_later "
        "test_a_video_that_stays_truncated_is_not_stored "
        "test_a_drip_is_given_up_when_its_time_is_over "
        "test_a_cdn_without_ranges_that_breaks_off_is_not_believed",
        x_refusals="test_a_redirect_to_another_place_is_not_followed_and_may_be_none_the_next_time "
        "test_a_video_that_is_too_large_without_a_word_is_given_up "
        "test_what_comes_in_place_of_a_video_may_be_one_the_next_time",
    ),
    23: row(
        "a crash in the middle of an upload in parts",
        x_broken_connections="test_a_part_that_stays_broken_leaves_no_upload_behind",
        i_storing="test_a_message_that_is_cut_off_is_finished_by_the_next_and_stored_once",
        i_reconciliation="test_a_copy_that_was_cut_off_is_begun_again",
    ),
    24: row(
        "the table is throttled, or a transaction meets another",
        i_fault_rows="test_a_throttled_table_delays_a_drop_and_never_sends_it_twice",
        i_ledger="test_a_transaction_that_meets_another_is_tried_again "
        "test_a_throttled_transaction_rises_untouched_and_the_message_comes_back",
    ),
    25: row(
        "a result for a job that was cancelled, or has failed",
        i_cancellation="test_a_video_that_comes_too_late_is_noted_and_not_stored",
        i_storing="test_a_result_that_is_too_late_stores_nothing",
        i_retries="test_a_late_failure_of_an_old_attempt_does_nothing",
    ),
    26: row(
        "several submitters race for the last slot or the last dollar",
        i_races="test_the_last_slot_and_the_last_dollar_are_given_once "
        "test_of_eight_that_read_the_same_job_one_sends_it",
    ),
    27: row(
        "clocks that disagree",
        i_fault_rows="test_clocks_that_disagree_lose_no_drop_and_send_none_twice",
        i_ledger="test_money_goes_back_to_the_day_it_was_taken_from",
        u_webhooks="test_a_timestamp_of_at_most_300_seconds_before_or_after_is_fresh",
    ),
    28: row(
        "messages that come back from a dead-letter queue, days later",
        i_fault_rows="test_every_message_of_a_jobs_life_redriven_days_later_changes_nothing",
        e_command_line="test_a_message_in_a_dead_letter_queue_is_brought_back_to_its_function "
        "test_a_verdict_that_lies_there_still_becomes_its_video",
    ),
    29: row(
        "a key with a plus, a space, a percent sign, unicode or dots, or 1,024 bytes long",
        i_intake="test_a_key_with_plus_percent_spaces_or_unicode_is_taken_as_it_is "
        "test_keys_as_long_as_s3_allows_work test_an_unsafe_key_is_rejected_once_with_what_to_do",
    ),
    30: row(
        "a video is dropped back into the drop bucket",
        i_fault_rows="test_a_video_dropped_back_starts_nothing "
        "test_a_manifest_dropped_back_beside_its_video_is_rejected_and_sends_nothing",
    ),
    31: row(
        "a message that cannot be understood",
        i_fault_rows="test_a_poison_message_fails_alone_and_writes_nothing "
        "test_a_poison_result_fails_alone_and_writes_nothing",
        i_intake="test_a_poison_message_fails_alone",
    ),
    32: row(
        "the reader of the table's stream is down, and comes back",
        u_publication="test_in_any_order_and_any_number_of_times_every_receipt_ends_as_its_record "
        "test_events_of_a_job_come_in_its_steps_order_and_none_is_missing",
        i_publication="test_a_record_that_fails_is_overtaken_by_none_and_comes_back_with_the_rest "
        "test_an_event_that_the_bus_did_not_take_is_sent_again_and_the_receipt_stays",
        c_publication="test_told_from_the_start_and_shuffled_again_it_ends_the_same",
        e_publication="test_what_was_written_while_nobody_published_is_published_afterwards",
    ),
}

PROOFS = sorted({proof for one in ROWS.values() for proof in one.proofs})


def test_every_fault_has_its_row_and_every_row_a_proof() -> None:
    assert sorted(ROWS) == list(range(1, 33))
    assert len({one.fault for one in ROWS.values()}) == 32
    assert [number for number, one in ROWS.items() if not one.proofs] == []


@pytest.mark.parametrize("file", sorted({proof.partition("::")[0] for proof in PROOFS}))
def test_every_test_that_a_row_names_exists(file: str) -> None:
    named = {test for path, _, test in (proof.partition("::") for proof in PROOFS) if path == file}

    written = {
        node.name
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert named - written == set()


# What had no test elsewhere ---------------------------------------------------------------------


@pytest.fixture
def send(submit: ModuleType, fal: FakeFalQueue, context: Context) -> Send:  # noqa: ARG001 - in its place
    """Deliver messages to the function submit; the ids of those that failed."""

    def deliver(*messages: Any) -> list[str]:
        failed = submit.handler(sqs(*messages), context)["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in failed]

    return deliver


@pytest.fixture
def store(
    function: Callable[..., ModuleType],
    cloud: Cloud,
    environment: pytest.MonkeyPatch,
    context: Context,
) -> Send:
    """The same for the function store, whose CDN has a video at every URL."""
    module = function(
        "store",
        JOBS_TABLE=JOBS,
        OUTPUT_BUCKET=OUTPUT,
        FAL_KEY_PARAMETER=KEY_PARAMETER,
        MAX_VIDEO_BYTES="1048576",
        STABLE_KEY="true",
        DROPS_QUEUE_URL=cloud.verdicts_url,
        MAX_IN_FLIGHT="2",
        DAILY_BUDGET_USD="25",
    )
    environment.setattr(module, "Cdn", lambda _: FakeCdn())

    def deliver(*messages: Any) -> list[str]:
        failed = module.handler(sqs(*messages), context)["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in failed]

    return deliver


def drop(cloud: Cloud, seconds: float = 2) -> None:
    cloud.drop("albums/song.mp3", silence(seconds))
    cloud.drop("albums/song.json", {"prompt": "A stage"})


def audio_of(post: Submission) -> dict[str, list[str]]:
    """What the audio's presigned URL names."""
    return parse_qs(urlsplit(post.arguments["audio_url"]).query)


def test_an_audio_file_that_is_overwritten_under_way_is_read_as_it_was(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    drop(cloud)
    first = cloud.s3.head_object(Bucket=DROPS, Key="albums/song.mp3")["VersionId"]

    def overwrite(_: Submission) -> None:
        cloud.drop("albums/song.mp3", silence(3))

    fal.on_post = overwrite
    send(created("albums/song.json"))
    fal.on_post = lambda _: None

    send(created("albums/song.mp3"))

    assert len(cloud.items()) == 2
    one, other = fal.posts
    assert audio_of(one)["versionId"] == [first] != audio_of(other)["versionId"]
    kept = cloud.s3.get_object(Bucket=DROPS, Key="albums/song.mp3", VersionId=first)
    assert kept["Body"].read() == silence(2)


def test_a_sidecar_that_is_edited_after_the_post_is_a_take_of_its_own(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    drop(cloud)
    send(created("albums/song.json"))
    (before,) = cloud.items()

    cloud.drop("albums/song.json", {"prompt": "A field"})
    send(created("albums/song.json"))

    assert cloud.item(before["job_id"]) == before
    assert [post.arguments["prompt"] for post in fal.posts] == ["A stage", "A field"]
    assert len({audio_of(post)["versionId"][0] for post in fal.posts}) == 1


@pytest.fixture
def throttled(
    submit: ModuleType, environment: pytest.MonkeyPatch, cloud: Cloud
) -> Callable[[int], None]:
    """Let the function's n-th call of the table be refused, as after all of the SDK's tries."""
    recording_client = RecordingClient(cloud.dynamodb)
    code = "ProvisionedThroughputExceededException"
    slow = cloud.dynamodb.exceptions.ProvisionedThroughputExceededException(
        {"Error": {"Code": code, "Message": ""}}, "UpdateItem"
    )

    def store(_: Any, table: str, **options: Any) -> JobStore:
        client: Any = recording_client
        return JobStore(client, table, **options)

    def throttle(nth: int) -> None:
        def strike(_: str, __: dict[str, Any]) -> None:
            if len(recording_client.calls) == nth:
                raise slow

        recording_client.before = strike
        environment.setattr(submit, "JobStore", store)

    return throttle


@pytest.mark.parametrize(
    ("nth", "ends"),
    [(1, "SUBMITTED"), (2, "SUBMITTED"), (3, "SUBMITTED"), (4, "SUBMITTING"), (99, "SUBMITTED")],
    ids=["first", "second", "third", "at fal's answer", "never"],
)
def test_a_throttled_table_delays_a_drop_and_never_sends_it_twice(
    cloud: Cloud,
    fal: FakeFalQueue,
    send: Send,
    throttled: Callable[[int], None],
    nth: int,
    ends: str,
) -> None:
    drop(cloud)
    throttled(nth)

    failed = send(created("albums/song.json"))
    again = send(created("albums/song.json"))

    (item,) = cloud.items()
    assert (failed, again) == (["m0"] if nth <= 4 else [], [])
    assert len(fal.posts) == 1
    assert item["status"] == ends  # what is left SUBMITTING is the reconciler's to settle


@pytest.mark.parametrize("ahead", [timedelta(hours=-3), timedelta(hours=3)], ids=str)
def test_clocks_that_disagree_lose_no_drop_and_send_none_twice(
    cloud: Cloud,
    submit: ModuleType,
    fal: FakeFalQueue,
    send: Send,
    environment: pytest.MonkeyPatch,
    ahead: timedelta,
) -> None:
    """The function's clock is wrong by hours; S3's dates are only ever compared with S3's."""

    def store(client: Any, table: str, **options: Any) -> JobStore:
        return JobStore(client, table, **options, clock=lambda: datetime.now(UTC) + ahead)

    environment.setattr(submit, "JobStore", store)
    drop(cloud)

    failed = send(created("albums/song.mp3"), created("albums/song.json"))

    (item,) = cloud.items()
    assert (failed, item["status"], len(fal.posts)) == ([], "SUBMITTED", 1)


def test_every_message_of_a_jobs_life_redriven_days_later_changes_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send, store: Send
) -> None:
    drop(cloud)
    events = [created("albums/song.mp3"), created("albums/song.json")]
    failed = send(*events)
    (item,) = cloud.items()
    job_id = item["job_id"]
    token = str(fal.posts[0].webhook_url).rpartition("/")[2]
    job = Workspace.on_moto(cloud).store.get(job_id)
    assert job
    assert job.request
    answer = result_message(job)
    name = job.request.request_id
    message = json.loads(answer.to_message()) | {"request_id": name}
    message["body"] = message["body"].replace(answer.request_id, name)
    failed += store(message)
    ended, sums = cloud.item(job_id), Workspace.on_moto(cloud).sums()

    old = [event | {"time": "2020-01-01T00:00:00Z"} for event in events]
    failed += send(*events, *old, {"job_id": job_id}, {"cancel": job_id})
    failed += store(message, message)

    assert failed == []
    assert ended["status"] == "SUCCEEDED"
    assert cloud.items() == [ended]
    assert Workspace.on_moto(cloud).sums() == sums
    assert len(fal.posts) == 1
    assert len(cloud.output_versions()) == 2  # one video, one manifest
    assert token not in json.dumps(ended, default=str)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov", ".gif"])
def test_a_video_dropped_back_starts_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send, suffix: str
) -> None:
    key = f"albums/song/{'0' * 32}{suffix}"
    cloud.drop(key, b"\0\0\0\x18ftypmp42")

    failed = send(created(key))

    assert (failed, cloud.items(), fal.posts) == ([], [], [])


def test_a_manifest_dropped_back_beside_its_video_is_rejected_and_sends_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    """It looks like a sidecar, and the video like a recording in an unsupported format."""
    name = f"albums/song/{'0' * 32}"
    cloud.drop(f"{name}.mp4", b"\0\0\0\x18ftypmp42")
    cloud.drop(f"{name}.json", {"job_id": "0" * 32, "arguments": {"prompt": "A stage"}})

    failed = send(created(f"{name}.mp4"), created(f"{name}.json"))

    (item,) = cloud.items()
    assert (failed, item["status"], fal.posts) == ([], "REJECTED", [])


NOT_UNDERSTOOD = {
    "no JSON": "{",
    "no text": "",
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "a text": '"cancel"',
    "an empty object": "{}",
    "an event without a body": {"source": "aws.s3", "detail": {}},
    "an event of nobody's bucket": {"detail": {"bucket": {"name": "x"}, "object": {"key": "y"}}},
}


@pytest.mark.parametrize("poison", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_a_poison_message_fails_alone_and_writes_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send, poison: Any
) -> None:
    failed_alone = send(poison)
    written = cloud.items()
    drop(cloud)

    failed = send(poison, created("albums/song.json"), poison)

    assert (failed_alone, written) == (["m0"], [])
    assert failed == ["m0", "m2"]
    assert ([item["status"] for item in cloud.items()], len(fal.posts)) == (["SUBMITTED"], 1)


@pytest.mark.parametrize(
    "poison",
    [*list(NOT_UNDERSTOOD.values())[:7], {"job_id": "0" * 32}, {"job_id": "0" * 32, "more": 1}],
)
def test_a_poison_result_fails_alone_and_writes_nothing(
    cloud: Cloud, store: Send, poison: Any
) -> None:
    workspace = Workspace.on_moto(cloud)
    job, other = workspace.bring(JobStatus.SUBMITTED, 1), workspace.bring(JobStatus.SUBMITTED, 2)

    failed = store(poison, json.loads(result_message(job).to_message()), poison)

    assert failed == ["m0", "m2"]
    assert workspace.read(1).status is JobStatus.SUCCEEDED
    assert workspace.read(2) == other


def test_a_poison_result_that_fal_has_signed_has_fal_asked_soon(cloud: Cloud, store: Send) -> None:
    workspace = Workspace.on_moto(cloud)
    job = workspace.bring(JobStatus.SUBMITTED)
    message = json.loads(result_message(job).to_message()) | {"body": '{"request_id": 7}'}

    failed = store(message)

    assert failed == []
    assert workspace.read().status is JobStatus.SUBMITTED
    assert workspace.read().unanswered_since
