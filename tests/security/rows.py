"""Every threat, what is done against it, and the tests that show it.

docs/security.md has the same rows for people; ``test_rows`` sees that both agree and that the tests
exist. ``make security`` runs them and prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNIT, INTEGRATION = "tests/unit/test_", "tests/integration/test_"
BOARD = "tests/integration/board/test_board_"
COPYING = "tests/integration/copying/test_"
E2E, SECURITY, ODD = "tests/e2e/test_", "tests/security/test_", "tests/odd/test_"


@dataclass(frozen=True)
class Row:
    """A threat, its control, and tests as ``file: test test`` by folder."""

    threat: str
    control: str
    proofs: tuple[str, ...]


def row(threat: str, control: str, **files: str) -> Row:
    """Files are named by their folder's initial and their name: ``u_webhooks="test_a test_b"``."""
    folders = {"u": UNIT, "i": INTEGRATION, "e": E2E, "s": SECURITY, "o": ODD}
    folders |= {"c": COPYING, "b": BOARD}
    proofs = []
    for file, tests in files.items():
        folder, _, name = file.partition("_")
        proofs += [f"{folders[folder]}{name}.py::{test}" for test in tests.split()]
    return Row(threat, control, tuple(proofs))


ROWS: Final = (
    row(
        "A forged webhook",
        "The signature is verified over the raw bytes before any of them is parsed. Without a "
        "header, or without signing keys, every webhook is refused.",
        u_webhooks="test_keys_of_a_key_set_verify_the_vectors_of_rfc_8032 "
        "test_a_signature_with_any_bit_flipped_is_refused test_a_body_with_any_bit_flipped_is_refused "
        "test_a_post_signed_with_another_key_is_refused test_a_post_without_one_of_the_headers_is_refused "
        "test_a_key_set_without_keys_verifies_nothing",
        i_webhook_handler="test_a_header_that_is_there_twice_is_refused "
        "test_without_keys_no_webhook_is_accepted_and_fal_is_asked_to_try_again",
        e_webhooks_and_faults="test_a_forged_webhook_is_answered_401_and_says_no_more",
        s_doors="test_of_thousands_of_forgeries_none_is_believed_and_none_breaks_the_door "
        "test_a_door_that_believes_a_forgery_would_be_found "
        "test_the_genuine_webhook_that_forgeries_are_made_of_is_let_in",
    ),
    row(
        "A genuine signature for another fal customer's job",
        "`FalUserId` pins the account. Each job has a secret address of 256 bits, stored as a "
        "hash and compared in constant time. A request belongs to one job.",
        u_webhooks="test_a_genuine_post_for_another_customer_is_refused "
        "test_a_new_token_fits_the_path_and_is_another_each_time test_a_token_is_kept_as_its_sha256",
        i_storing="test_a_message_without_the_jobs_own_token_changes_nothing "
        "test_another_requests_result_is_noted_and_stores_nothing",
        e_webhooks_and_faults="test_a_delivery_that_proves_nothing_is_refused_and_the_next_one_is_believed",
    ),
    row(
        "Header and body name different requests",
        "The request id in the signed header must equal the one in the body.",
        u_webhooks="test_a_signed_body_that_does_not_name_its_request_once_is_refused",
        e_webhooks_and_faults="test_a_delivery_that_proves_nothing_is_refused_and_the_next_one_is_believed",
    ),
    row(
        "A replayed webhook",
        "Its timestamp may differ by 300 s, both ways. A job that has ended does not change. A "
        "video is written once.",
        u_webhooks="test_a_timestamp_beyond_300_seconds_is_refused "
        "test_a_timestamp_that_is_not_plain_digits_is_refused",
        i_storing="test_a_message_that_comes_twice_is_stored_once "
        "test_a_result_that_is_too_late_stores_nothing",
        e_webhooks_and_faults="test_a_webhook_that_comes_twice_stores_one_version",
    ),
    row(
        "fal rotates its signing keys, or forgers cause many fetches of them",
        "Every key is tried. If none matches, keys are fetched again, at most once a minute, "
        "over https, without redirects, up to 64 KiB, from fal's two hosts. Old keys are valid "
        "for a day.",
        u_webhooks="test_each_key_of_the_set_is_tried "
        "test_forgers_make_the_keys_be_fetched_once_a_minute_at_most "
        "test_old_keys_serve_for_a_day_while_fal_cannot_be_asked "
        "test_a_withdrawn_key_is_believed_no_longer_than_an_hour",
        i_webhook_handler="test_a_key_that_fal_added_since_is_fetched_and_forgers_do_not_make_it_a_storm "
        "test_where_fals_host_cannot_tell_its_keys_the_older_one_is_asked",
    ),
    row(
        "The public address is used to run up costs",
        "The API's route is throttled. Bodies are limited before any cryptography. Reserved "
        "concurrency is an option. Many refusals raise an alarm.",
        u_webhooks="test_a_body_of_more_than_128_kib_is_refused_before_any_cryptography "
        "test_a_hopeless_post_costs_no_fetch_of_the_keys",
        u_template="test_the_open_route_is_throttled_and_refusals_raise_an_alarm",
    ),
    row(
        "An answer shows a forger what was wrong",
        "Every failure of authentication is the same 401 with the same empty body.",
        i_webhook_handler="test_whatever_is_wrong_the_answer_is_the_same_401_and_nothing_is_queued "
        "test_the_refusals_that_are_tried_are_all_there_are",
    ),
    row(
        "A redirect, which is a final failure for fal",
        "The function answers 202, 401 or 503. The API itself answers other methods and paths "
        "with 404, and too many requests with 429. None of these is a redirect.",
        s_doors="test_of_thousands_of_forgeries_none_is_believed_and_none_breaks_the_door",
    ),
    row(
        "The result's URL points elsewhere",
        "Only https, only fal's hosts, one redirect at most and only to them, only public "
        "addresses (checked at the connection), limits on bytes and time, the container's own "
        "first bytes, no credentials.",
        c_copies="test_the_cdn_is_asked_for_plain_bytes_and_shown_no_credentials",
        c_broken_connections="test_a_drip_is_given_up_when_its_time_is_over",
        c_refusals="test_any_other_place_is_refused_without_a_request "
        "test_a_redirect_to_another_place_is_not_followed_and_may_be_none_the_next_time "
        "test_a_second_redirect_is_not_followed "
        "test_a_video_that_is_too_large_without_a_word_is_given_up "
        "test_what_comes_in_place_of_a_video_may_be_one_the_next_time",
        u_public_http="test_a_name_that_leads_inside_is_not_dialled "
        "test_the_address_that_was_checked_is_dialled_whatever_dns_says_next "
        "test_with_a_proxy_nothing_goes_past_it",
        i_public_http="test_an_inner_address_is_refused_however_it_is_spelt",
        i_fal_contract="test_our_key_goes_to_no_other_host",
    ),
    row(
        "An undocumented answer of fal, its CDN, or an endpoint",
        "Every exchange has one time limit, from connecting to the last byte. An answer that is "
        "not understood is requested again. The key goes only to fal's own hosts, over TLS. A "
        "job fails only if its video can no longer be fetched.",
        o_exchanges="test_a_submission_is_one_post_and_refused_only_by_what_proves_it "
        "test_a_poll_ends_in_an_outcome_or_can_be_repeated "
        "test_only_a_list_that_was_understood_whole_proves_that_a_request_is_missing "
        "test_a_video_is_read_whole_or_not_at_all "
        "test_an_endpoint_has_taken_an_event_only_where_it_says_so test_signing_keys_are_had_or_not "
        "test_a_file_is_uploaded_to_an_address_of_fals_or_not",
        o_jobs="test_a_paid_video_is_stored_whatever_was_answered_before",
        i_fal_contract="test_an_answer_that_drips_ends_with_the_time_of_its_exchange "
        "test_an_address_that_is_not_fals_own_over_https_is_neither_stored_nor_called",
        i_reconciliation="test_a_job_has_had_its_turn_before_fal_is_asked_about_it",
    ),
    row(
        "A media file attacks its decoder",
        "FFmpeg runs in `probe`, which may read drops, and in `edit`, which may also read and add "
        "objects of the output bucket. Neither may use a table, a queue or the fal key. Demuxers "
        "and decoders are short lists. Bytes, pixels and time are limited. A file that ends the "
        "process is rejected.",
        s_doors="test_any_bytes_are_a_file_or_refused_with_words "
        "test_an_image_that_is_damaged_is_measured_or_refused "
        "test_a_damaged_file_is_measured_or_refused_with_words",
        u_probe="test_any_bytes_are_media_or_refused test_what_is_not_audio_is_refused "
        "test_a_file_in_which_no_sound_is_found_for_too_long_is_refused",
        u_permissions="test_a_function_may_do_what_its_work_needs_and_nothing_else",
        i_examination_faults="test_a_file_that_ends_the_decoder_twice_or_takes_too_long_is_rejected",
    ),
    row(
        "The sidecar names a forbidden resource",
        "It cannot set audio, webhook, bucket or model. Images are beside it, or at an https "
        "URL. Its host must be a dotted name: no address, and no name under `.localhost`, "
        "`.local`, `.internal`, `.lan` or `.home.arpa`. A user name, and any port but 443, are "
        "refused. Where the name leads is not checked: only fal requests it, and nothing in the "
        "stack does.",
        s_doors="test_a_hostile_sidecar_is_refused "
        "test_any_json_is_a_sidecar_or_refused_with_words",
        u_sidecar="test_an_image_url_of_an_address_or_a_private_host_is_refused "
        "test_any_other_reference_to_an_image_is_refused "
        "test_what_is_not_the_droppers_to_set_is_refused_with_the_reason",
        i_intake="test_an_image_that_fal_cannot_read_is_refused_before_anything_is_paid",
    ),
    row(
        "A malicious key",
        "Keys are used as they are, without decoding. Control characters, and folders that HTTP "
        "clients fold away, are refused. Ids are digests. Output keys consist of checked parts.",
        u_drops="test_a_control_character_in_a_key_is_unsafe "
        "test_a_folder_that_http_clients_fold_away_is_unsafe "
        "test_job_ids_differ_where_their_inputs_do test_an_output_key_is_one_that_s3_takes",
        i_intake="test_an_unsafe_key_is_rejected_once_with_what_to_do",
        s_doors="test_a_drop_under_any_key_is_ignored_or_has_a_record",
    ),
    row(
        "A video starts the next job, in an endless loop",
        "There are two buckets. The rule covers the drop bucket only. A video is not audio.",
        i_fault_rows="test_a_video_dropped_back_starts_nothing "
        "test_a_manifest_dropped_back_beside_its_video_is_rejected_and_sends_nothing",
        u_template="test_drops_are_announced_from_the_drop_bucket_alone",
    ),
    row(
        "A presigned URL expires early, or leaks",
        "fal's start timeout is shorter than the URL's life. The URL reads one version, by GET. "
        "It is never logged, stored or published.",
        i_fal_contract="test_fal_gives_up_before_the_audios_url_ends "
        "test_the_audios_url_reads_one_version_for_a_while_and_does_nothing_else "
        "test_neither_key_nor_token_nor_signature_reaches_a_log",
        i_submission="test_the_token_is_nowhere_in_the_record_and_neither_is_a_presigned_url",
        e_written_traces="test_no_secret_is_in_any_log_record_or_output_of_the_whole_suite",
    ),
    row(
        "A secret appears where it should not",
        "The fal key is in SSM; functions read it when they need it, keep it for five minutes, "
        "and check its form. They find a rotated key at the first refusal. No environment "
        "variable holds a secret.",
        i_fal_contract="test_a_key_that_was_stored_with_its_line_feed_goes_out_without "
        "test_a_job_that_fal_refused_for_a_rotated_key_is_sent_with_the_new_one "
        "test_a_key_that_no_header_can_hold_sends_nothing",
        u_results="test_the_input_that_fal_repeats_never_comes_into_an_error "
        "test_a_presigned_signature_never_comes_into_an_error",
        e_written_traces="test_no_secret_is_in_any_log_record_or_output_of_the_whole_suite",
    ),
    row(
        "A function has more permissions than it needs",
        "Each function has a role with single actions on single resources, enforced in every "
        "end-to-end test. Without any one action, something fails (`make permissions`).",
        u_permissions="test_each_function_has_a_role_of_its_own_and_no_other_function_has_one "
        "test_no_role_has_a_policy_that_is_not_written_in_the_template "
        "test_a_permission_names_its_actions_and_its_resource "
        "test_what_every_role_may_is_without_resource_only_where_aws_knows_none "
        "test_a_function_may_do_what_its_work_needs_and_nothing_else "
        "test_what_faces_the_internet_touches_one_queue_and_knows_no_key "
        "test_publish_reads_no_table_and_writes_receipts_pointers_and_videos_alone "
        "test_a_role_writes_to_its_own_functions_log_and_no_other",
        e_permissions="test_without_this_permission_something_fails_that_passes_with_it "
        "test_every_action_that_is_granted_has_a_case_or_a_reason "
        "test_every_deployed_function_has_its_cases",
        s_removals="test_an_action_is_needed_where_it_is_denied_and_the_effect_does_not_come",
    ),
    row(
        "Data is read at rest or in transit, or lost",
        "Public access is blocked, plain http is refused, everything is encrypted (optionally "
        "with a key of yours), buckets are versioned, and the table can be restored to any "
        "minute.",
        u_template="test_a_bucket_is_private_encrypted_versioned_and_cleans_up "
        "test_every_bucket_and_every_queue_that_work_flows_through_refuses_plain_http "
        "test_a_queue_keeps_its_messages_for_14_days_and_encrypts_them "
        "test_what_holds_somebodys_work_outlives_the_stack "
        "test_an_own_key_encrypts_everything_that_holds_data",
    ),
    row(
        "A malicious payload",
        "Size and depth are limited. Duplicate keys, NaN and half surrogate pairs are refused. "
        "Audio is measured by ranged reads of limited size. An examination has a time limit.",
        s_doors="test_any_bytes_are_a_sidecar_or_refused_with_words "
        "test_any_bytes_are_a_file_or_refused_with_words "
        "test_an_image_that_is_damaged_is_measured_or_refused "
        "test_a_damaged_file_is_measured_or_refused_with_words "
        "test_a_header_that_promises_too_much_costs_no_more_than_others "
        "test_messages_that_no_one_understands_leave_a_real_drop_alone "
        "test_what_was_once_found_stays_mended",
        i_examination_faults="test_a_drop_with_more_images_than_there_is_time_for_has_a_record_that_says_so "
        "test_a_sidecar_of_more_audio_files_than_there_is_time_for_has_a_record_that_says_so "
        "test_a_drop_beside_more_files_than_there_is_time_for_has_a_record_that_says_so",
        u_drops="test_a_folder_of_the_longest_names_is_looked_through_in_seconds",
        u_record_sizes="test_of_the_many_spellings_of_a_sidecars_name_a_record_notes_a_few",
        i_fault_rows="test_a_poison_message_fails_alone_and_writes_nothing "
        "test_a_poison_result_fails_alone_and_writes_nothing",
    ),
    row(
        "Event webhooks are forged, replayed, or sent to internal addresses",
        "Each attempt is signed by Standard Webhooks, with a secret in SSM and the time of the "
        "attempt, or not sent. Only https, only public addresses, no redirects. Of the answer, "
        "only the status and `Retry-After` are read.",
        u_notifications="test_the_reference_package_believes_what_is_sent "
        "test_what_is_changed_on_its_way_is_not_believed "
        "test_without_a_good_secret_nothing_is_signed_and_none_is_shown "
        "test_what_is_sent_again_has_the_same_id_and_body_and_the_time_of_its_attempt",
        i_event_webhooks="test_an_inner_address_is_never_dialled "
        "test_anything_but_a_2xx_is_tried_again "
        "test_with_a_secret_that_is_none_nothing_is_sent_until_there_is_one "
        "test_neither_the_url_nor_the_secret_nor_the_event_is_logged "
        "test_nothing_of_the_answer_but_its_status_is_read",
        e_notification="test_a_subscriber_hears_every_step_and_its_package_believes_each "
        "test_nothing_that_any_subscriber_was_sent_was_signed_wrongly",
    ),
    row(
        "Published data about a job gives access to something",
        "Receipts and events contain no tokens, token hashes, URLs of fal or arguments. Errors "
        "omit the user, the query and the fragment of a dropper's own URL.",
        u_intake="test_no_secret_of_a_url_is_recorded_published_or_logged",
        u_projections="test_nothing_that_opens_anything_is_reported "
        "test_the_query_of_a_url_that_was_refused_is_left_out",
        i_publication="test_nothing_secret_reaches_a_log_a_receipt_or_an_event",
        e_written_traces="test_no_secret_is_in_any_log_record_or_output_of_the_whole_suite",
    ),
    row(
        "Data remains at the provider",
        "fal is asked to delete what it made after `OutputLifetimeSeconds`.",
        i_fal_contract="test_the_headers_are_those_that_fal_documents",
    ),
    row(
        "Another site's page sends requests to the board",
        "The board answers only its own pages: the browser's `Origin` and `Sec-Fetch-Site` are "
        "checked, a write must have one of them, the cookie is `SameSite=Strict`, and no header "
        "allows another origin.",
        b_access="test_no_address_answers_a_request_that_is_not_its_own "
        "test_every_address_answers_a_page_of_its_own "
        "test_a_write_must_say_that_a_page_of_the_board_sends_it "
        "test_the_guard_lets_pass_what_the_rules_allow_and_nothing_else",
        b_server="test_a_request_that_no_page_of_the_board_sends_is_refused",
    ),
    row(
        "A foreign name is made to resolve to the board (DNS rebinding)",
        "The `Host` header must be exactly the board's address and port, once.",
        b_access="test_no_address_answers_a_request_that_is_not_its_own "
        "test_only_the_entrance_itself_needs_no_cookie",
        b_server="test_a_request_that_no_page_of_the_board_sends_is_refused",
    ),
    row(
        "Another program or user opens the board, or its link is stolen",
        "It listens on 127.0.0.1. A link works once; then only the `HttpOnly` cookie of that "
        "browser does. Each board has its own secret of 256 bits, and a cookie named by its port.",
        b_access="test_a_link_lets_one_browser_in_once test_a_made_up_link_lets_nothing_in "
        "test_a_preview_of_a_link_does_not_use_it_up "
        "test_boards_of_two_ports_have_their_own_cookies_and_secrets "
        "test_whatever_is_sent_without_the_secret_reaches_nothing",
        b_server="test_a_page_is_served_to_the_browser_that_was_let_in "
        "test_enter_gives_another_link",
    ),
    row(
        "A page frames the board, or a cache or another page keeps what it shows",
        "Every answer, also of an error, has `frame-ancestors 'none'`, `no-store`, `nosniff` and "
        "same-origin policies.",
        b_access="test_every_answer_is_kept_from_frames_caches_and_scripts",
        b_streaming="test_what_a_browser_would_run_is_a_download_of_bytes",
    ),
    row(
        "A script in a key, a sidecar, a file or fal's error runs in the board",
        "Templates escape every value. The policy allows only scripts with the page's nonce. "
        "Files are sent as audio, video or images of a short list, or as a download, in a sandbox.",
        b_access="test_a_script_in_a_key_a_prompt_or_metadata_is_text "
        "test_a_script_in_fals_error_is_text "
        "test_a_policy_allows_the_pages_own_scripts_and_no_others",
        b_streaming="test_what_a_browser_would_run_is_a_download_of_bytes "
        "test_a_downloads_name_arrives_as_it_is_and_is_no_header",
        b_live="test_no_text_ends_an_event_or_begins_another",
        u_board_files="test_a_page_names_no_other_host_and_has_no_handlers_and_styles_of_its_own",
    ),
    row(
        "An address or a file's name leads out of the board's folders",
        "Staged files have checked names in folders whose names are 32 hex digits. Static files "
        "are read from one folder.",
        b_access="test_no_address_and_no_files_name_leads_out_of_its_folder",
        b_drops="test_a_files_name_has_its_place_or_is_refused "
        "test_a_drops_id_is_of_the_pages_making",
    ),
    row(
        "An upload or a form fills the machine",
        "Bodies are limited while they are read, and refused by their announced length before. "
        "Few drops are kept, and their files are deleted at the end.",
        b_access="test_a_file_that_says_it_is_too_large_is_not_read "
        "test_a_form_that_never_ends_is_given_up",
        b_server="test_a_file_that_says_it_is_too_large_is_refused_before_it_is_sent "
        "test_it_ends_by_a_signal_without_a_fuss_and_leaves_no_file",
        b_drops="test_of_drops_that_were_begun_the_newest_stay_and_those_on_their_way",
    ),
    row(
        "A method or protocol that no page uses reaches the board",
        "Only GET, POST and PUT over HTTP are answered.",
        b_access="test_no_address_answers_another_method test_a_websocket_is_refused",
        b_server="test_a_request_that_no_page_of_the_board_sends_is_refused",
    ),
    row(
        "A button of the board spends twice, or more than it shows",
        "A drop or retry happens only at the price that its button shows, for the files that were "
        "priced, and once.",
        b_drops="test_a_button_that_is_pressed_many_times_at_once_drops_once "
        "test_a_retry_that_is_pressed_many_times_at_once_makes_one_take "
        "test_a_price_that_was_not_shown_drops_nothing "
        "test_a_file_that_comes_while_the_drop_is_on_its_way_changes_nothing "
        "test_a_file_or_a_field_that_changed_since_asks_again",
    ),
    row(
        "Code that is not a release's is deployed",
        "Each file of a release archive is compared with its SHA-256 before and after it is "
        "uploaded. The command's own bucket for code is closed, encrypted and refuses plain HTTP, "
        "and every call names the account that must own it.",
        i_release="test_an_archive_with_one_other_bit_is_refused "
        "test_an_archive_that_is_not_whole_is_refused test_a_part_of_an_archive_is_refused "
        "test_an_archive_that_unpacks_to_more_than_any_release_is_refused "
        "test_code_that_changes_after_the_archive_was_verified_is_not_uploaded",
        e_deploy="test_the_bucket_for_code_is_closed_and_encrypted",
    ),
    row(
        "A dependency was changed",
        "Every package is pinned and locked with its hashes, for Lambda and for the tools; the "
        "board's scripts are listed with theirs. The build writes a bill of materials. `make audit` "
        "checks PyPI's advisories.",
        i_packaging="test_the_layer_for_aws_holds_every_locked_package_that_lambda_needs "
        "test_the_bill_of_materials_names_every_package_of_the_layers_with_its_hashes "
        "test_a_function_imports_nothing_but_itself_the_layer_and_lambdas_own",
        u_requirements="test_every_package_is_locked_with_hashes "
        "test_the_list_of_a_layer_is_that_of_the_lock test_the_lock_names_no_mirror",
        u_board_files="test_a_file_of_others_is_what_its_release_holds",
        s_rows="test_a_package_that_was_skipped_is_not_a_package_without_fault "
        "test_an_audit_that_did_not_happen_is_no_audit_without_findings",
    ),
)
