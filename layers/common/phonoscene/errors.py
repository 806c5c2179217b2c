"""Every error that is raised on purpose.

    PhonosceneError
    ├── SettingMissing            the deployment lacks an environment variable
    ├── DropRefused               the dropper can mend it: all its errors at once
    ├── MediaRefused              a file is not the audio or the image that it should be
    ├── EditingFailed             audio cannot be cut, or videos cannot be joined
    ├── EditorFailed              the function that edits media gave no answer this time
    ├── TooMuchRead               a file is too large to be measured
    ├── ObjectUnreadable          S3 did not give an object's bytes this time
    ├── ProbeFailed               the function that measures media gave no answer this time
    ├── DropUnsettled             it is being overwritten right now; its event comes back
    ├── BucketUnversioned         S3 gave an object no version; its event comes back
    ├── OutOfTime                 too little of the function's time is left; the message comes back
    ├── ConditionFailed           what the table holds is not what a write was meant for
    ├── WriteRefused              the record is not in a state that allows the write
    ├── ContentContested          a job or the content of a drop changed since it was read
    ├── MustWait                  no slot is free, the day's budget is spent, or fal is paused
    ├── UploadFailed              fal's storage did not take a file this time; the job waits
    ├── WebhookRefused            not fal's, not ours, not fresh, or not whole: one answer, 401
    ├── SigningKeysUnavailable    no webhook can be verified now: 503, and fal retries
    ├── ResultMalformed           signed by fal, and yet not a result
    ├── AnswerMalformed           fal's answer to a question is not as documented
    ├── AddressRefused            a host's name leads to an address that is not public
    ├── ReceiptContested          others write a job's receipt at the same time
    ├── StableKeyContested        others write a stable key or its pointer at the same time
    ├── StableKeyRefused          S3 does not copy a video to its stable key, now or ever
    ├── RecordUnreadable          a job's record is not as this release knows it
    ├── EventRefused              the event bus did not take an event
    ├── NotificationMalformed     what should be sent to the subscriber is no event
    ├── SecretUnusable            nothing can be signed with the subscriber's secret
    ├── SubscriberUnreachable     the subscriber gave no answer in time
    ├── NotDelivered              the subscriber did not take an event
    ├── VideoRefused              the video may not be stored, now or ever
    │   └── VideoTooLarge         it is larger than the stack takes, by what the CDN says of it
    ├── CopyFailed                the video could not be copied this time
    └── FalUnavailable            fal did not say how a request stands, or not in a form we know

The docstring of a class is its message where it needs no more. Errors keep evidence for the code
that catches them; what is logged of them are ids and codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from phonoscene.jobs import ErrorDetail, Job


class PhonosceneError(Exception):
    """The base of every deliberate error."""

    def __str__(self) -> str:
        return super().__str__() or (self.__doc__ or "").split("\n", 1)[0]


class DropRefused(PhonosceneError):
    """The drop cannot become a job as it is."""

    def __init__(self, *errors: ErrorDetail) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class MediaRefused(PhonosceneError):
    """A file is not the audio or the image that it should be.

    ``what`` goes on after the file's name: "holds 1.00 s of …".
    """

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what


class EditingFailed(PhonosceneError):
    """Audio cannot be cut, or videos cannot be joined.

    ``segment`` is the number, from 1, of the segment whose video is the cause; None: another file.
    """

    def __init__(self, code: str, message: str, segment: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.segment = segment


class EditorFailed(PhonosceneError):
    """The function that edits media gave no answer this time; the message comes back."""


class TooMuchRead(PhonosceneError):
    """A file is too large to be measured."""


class ObjectUnreadable(PhonosceneError):
    """S3 did not give an object's bytes this time; the message comes back."""


class ProbeFailed(PhonosceneError):
    """The function that measures media gave no answer this time; the message comes back."""


class DropUnsettled(PhonosceneError):
    """The drop changes while it is read; its event comes back."""


class BucketUnversioned(PhonosceneError):
    """S3 gave an object no version: versioning is off, or has just been turned on."""


class OutOfTime(PhonosceneError):
    """Too little of the function's time is left to begin; the message comes back."""


class ConditionFailed(PhonosceneError):
    """What the table holds is not what the write was meant for.

    ``found`` is the item (empty: none), ``position`` that of the write in its transaction.
    """

    def __init__(self, found: dict[str, Any], position: int) -> None:
        super().__init__()
        self.found = found
        self.position = position


class WriteRefused(PhonosceneError):
    """The record is not in a state that allows this write."""

    def __init__(self, found: Job | None) -> None:
        super().__init__(f"found {found.status if found else 'no record'}")
        self.found = found


class ContentContested(PhonosceneError):
    """A job, or the jobs of a content, changed since they were read; read them again."""


class MustWait(PhonosceneError):
    """The job has to wait; ``waits_for`` says for what: slot, budget, account or cdn.

    ``until`` is when a pause ends, if there is one.
    """

    def __init__(self, waits_for: str, until: datetime | None = None) -> None:
        super().__init__(f"no room: {waits_for}")
        self.waits_for = waits_for
        self.until = until


class UploadFailed(PhonosceneError):
    """fal's storage did not take a file this time.

    ``waits_for`` says what the job has to wait for: storage, or account where fal refuses the key.
    """

    def __init__(self, reason: str, waits_for: str = "storage") -> None:
        super().__init__(reason)
        self.waits_for = waits_for


class SettingMissing(PhonosceneError):
    """The deployment lacks an environment variable."""


class WebhookRefused(PhonosceneError):
    """Not fal's, not ours, not fresh, or not whole.

    ``reason`` is for our own log; the sender only gets 401.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SigningKeysUnavailable(PhonosceneError):
    """fal's key set cannot be fetched now, so no webhook can be verified."""


class ResultMalformed(PhonosceneError):
    """Signed by fal, and yet not a result."""


class AnswerMalformed(PhonosceneError):
    """fal's answer to a question is not as documented; it is asked again."""


class AddressRefused(PhonosceneError):
    """The host's name leads to an address that is not public."""


class ReceiptContested(PhonosceneError):
    """Others write the same receipt at the same time; the record comes back."""


class StableKeyContested(PhonosceneError):
    """Others write a stable key or its pointer at the same time; the record comes back."""


class StableKeyRefused(PhonosceneError):
    """S3 does not copy a video to its stable key, and would not the next time either."""


class RecordUnreadable(PhonosceneError):
    """The record of a job is not as this release knows it."""


class EventRefused(PhonosceneError):
    """The event bus did not take an event; the record comes back."""


class NotificationMalformed(PhonosceneError):
    """What should be sent to the subscriber is no event of ours."""


class SecretUnusable(PhonosceneError):
    """The secret is not one or more of whsec_ and 24 to 64 bytes in base64."""


class SubscriberUnreachable(PhonosceneError):
    """The subscriber gave no answer in time, or may not be dialled."""


class NotDelivered(PhonosceneError):
    """The subscriber did not take an event; it is tried again.

    ``retry_after`` is how many seconds the subscriber wants to be left alone.
    """

    def __init__(self, status: int, retry_after: int) -> None:
        super().__init__(f"the subscriber answered {status}")
        self.retry_after = retry_after


class VideoRefused(PhonosceneError):
    """The video may not be stored, now or ever."""

    def __init__(self, error: ErrorDetail) -> None:
        super().__init__(error.message)
        self.error = error


class VideoTooLarge(VideoRefused):
    """The video is larger than the stack takes, by what the CDN says of it this time."""


class CopyFailed(PhonosceneError):
    """The video could not be copied this time; its record says when it is tried again.

    ``retry_after`` is how many seconds the CDN wants to be left alone.
    """

    def __init__(self, reason: str, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class FalUnavailable(PhonosceneError):
    """fal did not say how a request stands, or not in a form that is known; it is polled again."""
