"""Everything that is checked of a whole drop, before anything is spent on it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from phonoscene.drops.image_references import without_secrets
from phonoscene.drops.keys import (
    SIDECAR_SUFFIX,
    beside,
    composed,
    fits,
    is_of_one,
    spellings,
    unsafe,
)
from phonoscene.drops.pricing import PADDING_SECONDS, PRESETS, estimate, needed_frames
from phonoscene.drops.sidecar import MAX_SIDE, Sidecar, VideoSize
from phonoscene.drops.sidecar_files import SidecarFile, metadata_of, parse, read_takes
from phonoscene.drops.validation_errors import SCENES, Errors, shortened
from phonoscene.errors import DropRefused, OutOfTime
from phonoscene.fal.requests import check_size
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Estimate, Sequence
from phonoscene.sequences import planning
from phonoscene.sequences.plan import Grid
from phonoscene.sequences.scenes import Scenes, named_images, read_scenes, without_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Sequence as Listed
    from decimal import Decimal

    from phonoscene.drops.drop_bucket import DropBucket, Found
    from phonoscene.drops.media_facts import ImageFacts, Prober, StoredObject
    from phonoscene.drops.pairing import Pairing
    from phonoscene.sequences.scenes import AskedScene
    from phonoscene.workflow.finding import DropFiles

T = TypeVar("T")
#: Images by the field that names them, with what was measured of each.
Images: TypeAlias = "dict[str, tuple[Found, ImageFacts]]"

IMAGE_NOT_FOUND = "image_not_found"
#: Characters of a name in an error.
MAX_SHOWN_LENGTH = 200


@dataclass(frozen=True)
class DropLimits:
    """What the operator decides about drops."""

    max_frames: int
    usd_per_megapixel: Decimal
    max_job_cost_usd: Decimal
    daily_budget_usd: Decimal
    #: Whether fal gets copies of a job's files, and not URLs of ours.
    uploads: bool = False
    #: The longest audio that several requests are made of; 0: none is.
    max_sequence_seconds: int = 0

    @property
    def most_usd(self) -> tuple[Decimal, str]:
        """The most that a job may cost, and the parameter that says so."""
        return min(
            (self.max_job_cost_usd, "MaxJobCostUsd"), (self.daily_budget_usd, "DailyBudgetUsd")
        )


@dataclass(frozen=True)
class ExaminedTake:
    """One take: the fields of its record, what is wrong with it, and its images by field."""

    fields: dict[str, Any]
    errors: Errors
    images: dict[str, Found]
    #: The keys of the images that it names and that are missing.
    missing: tuple[str, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """What fal is asked for: the arguments, and of a sequence its scenes."""
        sequence = self.fields.get("sequence")
        arguments: dict[str, Any] = self.fields.get("arguments", {})
        return arguments | ({SCENES: sequence.asked()} if sequence else {})

    @property
    def missing_image(self) -> str | None:
        """The first of its missing images, if it lacks nothing else."""
        lacks_images_only = all(error.code == IMAGE_NOT_FOUND for error in self.errors)
        return self.missing[0] if self.missing and lacks_images_only else None


@dataclass
class Patience:
    """How many ``seconds`` a message's drops may take until the last file is begun with."""

    seconds: float = math.inf
    _ends_at: float = math.inf

    def begin(self) -> None:
        """Begin to count."""
        self._ends_at = time.monotonic() + self.seconds

    def check(self) -> None:
        """Raise ``OutOfTime`` if they are over."""
        if time.monotonic() > self._ends_at:
            raise OutOfTime


@dataclass(frozen=True)
class Examiner:
    """Reads what a drop says and measures what it is.

    A sidecar may name thousands of images: of those, as many as ``patience`` allows.
    """

    bucket: DropBucket
    rules: DropLimits
    prober: Prober
    #: The middle of each silence of an audio file, in seconds, ascending.
    find_silences: Callable[[StoredObject], list[float]] = lambda _: []
    patience: Patience = dataclasses.field(default_factory=Patience)

    def examine(self, halves: DropFiles) -> list[ExaminedTake]:
        """What the drop asks for: one job, or one for each take of a sidecar that lists several.

        Raises:
            OutOfTime: it would take too long.
        """
        errors = Errors(halves.errors)
        if halves.pairing.rivals:
            errors.append(_ambiguous(halves.pairing))
        audio = errors.collect(self._measure, halves.audio)
        own = self._own(halves, errors)
        if own is None:
            about = {**self._pinned(halves, audio), "metadata": metadata_of(halves.defaults)}
            return [ExaminedTake(about, errors, {})]
        takes = [Errors(errors) for _ in own]
        return _with_twins(
            self._take(halves, audio, [*document, *halves.defaults], mine)
            for document, mine in zip(own, takes, strict=True)
        )

    def _measure(self, audio: Found) -> Audio:
        facts = self.prober.audio(audio)
        return Audio(
            key=audio.key,
            version_id=audio.version_id,
            bytes=audio.bytes,
            seconds=facts.seconds,
            format=facts.format,
            codec=facts.codec,
        )

    def _check_size(self, found: Found) -> None:
        if self.rules.uploads:
            check_size(found.key, found.bytes)

    def _own(self, halves: DropFiles, errors: Errors) -> list[list[SidecarFile]] | None:
        """The sidecar's takes, each before the defaults are added; None where it cannot be read."""
        if halves.sidecar is None:
            return [[]]
        takes = errors.collect(read_takes, halves.sidecar.key, halves.text)
        return [[take] for take in takes] if takes else None

    def _pinned(self, halves: DropFiles, audio: Audio | None) -> dict[str, Any]:
        """The objects that the job is about."""
        found = halves.audio
        unmeasured = Audio(key=found.key, version_id=found.version_id, bytes=found.bytes)
        return {"audio": audio or unmeasured, "sidecar": _pin(halves.sidecar)}

    def _take(
        self,
        halves: DropFiles,
        audio: Audio | None,
        documents: Listed[SidecarFile],
        errors: Errors,
    ) -> ExaminedTake:
        """Everything a job's record says of its drop; what is wrong goes to ``errors``."""
        about = {**self._pinned(halves, audio), "metadata": metadata_of(documents)}
        scenes = errors.collect(read_scenes, documents)
        sidecar, origin = errors.collect(parse, _with_prompt(documents)) or (None, {})
        if sidecar is None:
            self._check_images(documents, errors)
            return ExaminedTake(about, errors, {})
        images, missing = self._images(sidecar.image_references(), origin, errors)
        known = (about, images, missing)
        planned = audio if scenes else None  # scenes that cannot be read leave nothing to price
        if self._is_sequence(sidecar, audio, scenes):
            asked = (sidecar, scenes or Scenes())
            take = self._long_take(halves, planned, asked, known, errors)
        else:
            if audio:  # of a sequence, slices are uploaded
                errors.collect(self._check_size, halves.audio)
            take = self._short_take(planned, sidecar, known, errors)
        of_scenes = {SCENES: scenes.listed[0].source} if scenes and scenes.listed else {}
        errors.locate({**origin, **of_scenes, "audio": halves.audio.key})
        return take

    def _short_take(
        self,
        audio: Audio | None,
        sidecar: Sidecar,
        known: tuple[dict[str, Any], Images, tuple[str, ...]],
        errors: Errors,
    ) -> ExaminedTake:
        """A take of one request: its frames, its size and its price."""
        about, images, missing = known
        frames = errors.collect(self._frames, sidecar, audio) if audio else None
        size = errors.collect(self._size, sidecar, images)
        fields = {
            **about,
            "images": _pins(images),
            **self._arguments(sidecar, audio),
            "estimate": errors.collect(self._estimate, sidecar, frames, size)
            if frames and size
            else None,
        }
        return ExaminedTake(fields, errors, _found(images), missing)

    def _is_sequence(self, sidecar: Sidecar, audio: Audio | None, scenes: Scenes | None) -> bool:
        """Whether a take needs several requests, or may: with scenes, however long the audio is."""
        if scenes and scenes.listed:
            return True
        if audio is None or not self.rules.max_sequence_seconds or self._padding(sidecar, audio):
            return False
        is_longer = needed_frames(sidecar, audio.seconds or 0) > self.rules.max_frames
        return sidecar.match_audio_length and is_longer

    def _long_take(
        self,
        halves: DropFiles,
        audio: Audio | None,
        asked: tuple[Sidecar, Scenes],
        known: tuple[dict[str, Any], Images, tuple[str, ...]],
        errors: Errors,
    ) -> ExaminedTake:
        """A take of several segments: each scene's images, the plan, and the price of all."""
        sidecar, scenes = asked
        about, images, missing = known
        own: list[Images] = []
        for number, scene in enumerate(scenes.listed):
            found, lacks = self._scene_images(number, scene, errors)
            own.append(found)
            missing += lacks
        size = errors.collect(self._size, sidecar, images)
        sequence = (
            errors.collect(self._sequence, halves.audio, audio, asked, own) if audio else None
        )
        if audio and sequence and size:
            errors.collect(planning.check_bytes, sidecar, audio, sequence, size)
        fields = {
            **about,
            "images": _pins(images, with_etags=True),
            "arguments": sidecar.arguments(),
            "sequence": sequence,
        }
        if sequence and not errors.collect(planning.fits_record, fields, len(sequence.segments)):
            fields["sequence"] = sequence = None
        fields |= {
            "estimate": errors.collect(self._price, sequence, size) if sequence and size else None,
        }
        labelled = {
            f"{SCENES}[{number}].{field}": found
            for number, one in enumerate(own)
            for field, found in _found(one).items()
        }
        return ExaminedTake(fields, errors, _found(images) | labelled, missing)

    def _scene_images(
        self, number: int, scene: AskedScene, errors: Errors
    ) -> tuple[Images, tuple[str, ...]]:
        """The images that a scene names itself, and the keys of those that are missing."""
        mine = Errors()
        own = {field for field in scene.sidecar.image_references() if field in scene.fields}
        origin = dict.fromkeys(own, scene.source)
        images, missing = self._images(scene.sidecar.image_references(), origin, mine)
        errors += [
            error.model_copy(update={"field": f"{SCENES}[{number}].{error.field}"})
            for error in mine
        ]
        return images, missing

    def _sequence(
        self, found: Found, audio: Audio, asked: tuple[Sidecar, Scenes], images: Listed[Images]
    ) -> Sequence:
        sidecar, scenes = asked
        grid = Grid(sidecar.fps, self.rules.max_frames)
        planning.check(sidecar, audio, scenes, grid, self.rules.max_sequence_seconds)
        starts = [scene.start for scene in scenes.listed] or [0.0]
        spans = grid.cuts(audio.seconds or 0, starts, self.find_silences(found))
        own = [_pins(one, with_etags=True) for one in images]
        return planning.planned(spans, sidecar.fps, scenes, own)

    def _price(self, sequence: Sequence, size: tuple[int, int]) -> Estimate:
        return self._within_limit(planning.price(sequence, size, self.rules.usd_per_megapixel))

    def _estimate(self, sidecar: Sidecar, frames: int, size: tuple[int, int]) -> Estimate:
        from_audio = sidecar.match_audio_length
        return self._within_limit(
            estimate(frames, size, self.rules.usd_per_megapixel, from_audio=from_audio)
        )

    def _within_limit(self, cost: Estimate) -> Estimate:
        if cost.upper_usd > self.rules.most_usd[0]:
            raise DropRefused(_too_dear(cost, *self.rules.most_usd))
        return cost

    def _check_images(self, documents: Listed[SidecarFile], errors: Errors) -> None:
        """Add what is wrong with the images of a drop whose other fields are refused."""
        references, origin = named_images(documents)
        refused = {error.field for error in errors}
        others = {field: one for field, one in references.items() if field not in refused}
        self._images(others, origin, errors)

    def _images(
        self, references: Mapping[str, str], origin: Mapping[str, str], errors: Errors
    ) -> tuple[Images, tuple[str, ...]]:
        """The images beside the file that names them, by field; and the keys that are missing."""
        images, missing = {}, []
        for field, reference in references.items():
            if "://" in reference or field not in origin:
                continue
            self.patience.check()
            mine, key = Errors(), beside(origin[field], reference)
            may_come = fits(key) and not unsafe(key)
            found = mine.collect(self.find_image, key) if may_come else None
            if found is None and not mine:
                mine.append(_no_image(field, reference, key, origin[field]))
                missing += [key] * may_come
            elif found and (image := mine.collect(self._image, found)):
                images[field] = image
            named = {"field": field, "value": _shown(reference)}
            errors += [error.model_copy(update=named) for error in mine]
        return images, tuple(missing)

    def _image(self, found: Found) -> tuple[Found, ImageFacts]:
        self._check_size(found)
        return found, self.prober.image(found)

    def find_image(self, key: str) -> Found | None:
        """An image, however its name's accents are spelled."""
        return next(filter(None, map(self.bucket.find, spellings(key))), None)

    def _size(self, sidecar: Sidecar, images: Images) -> tuple[int, int] | None:
        """Width and height of the video, in pixels; None where its image was refused already."""
        if isinstance(sidecar.video_size, VideoSize):
            return sidecar.video_size.width, sidecar.video_size.height
        if sidecar.video_size != "auto":
            return PRESETS[sidecar.video_size]
        if "image_url" in images:
            found, facts = images["image_url"]
            size = facts.width, facts.height
            if max(size) > MAX_SIDE:
                raise DropRefused(_too_large_for_auto(found.key, size))
            return size
        if "://" in str(sidecar.image_url):
            raise DropRefused(_unknown_size(str(sidecar.image_url)))
        return None

    def _frames(self, sidecar: Sidecar, audio: Audio) -> int:
        most = self.rules.max_frames
        if self._padding(sidecar, audio):
            return most
        frames = needed_frames(sidecar, audio.seconds or 0)
        if frames > most:
            raise DropRefused(_too_long(sidecar, audio, frames, most))
        return frames

    def _arguments(self, sidecar: Sidecar, audio: Audio | None) -> dict[str, Any]:
        padding = self._padding(sidecar, audio) if audio else None
        longest = {"match_audio_length": False, "num_frames": self.rules.max_frames}
        return {
            "arguments": sidecar.arguments() | (longest if padding else {}),
            "padding": padding,
        }

    def _padding(self, sidecar: Sidecar, audio: Audio) -> float | None:
        """By how many seconds the audio exceeds the longest video, where that is mere padding."""
        most, seconds = self.rules.max_frames, audio.seconds or 0
        is_longer = sidecar.match_audio_length and needed_frames(sidecar, seconds) > most
        over = seconds - most / sidecar.fps
        return over if is_longer and over <= PADDING_SECONDS else None


def _with_prompt(documents: Listed[SidecarFile]) -> list[SidecarFile]:
    """With the prompt of the first scene, should no file have one for all of them."""
    prompt = without_prompt(documents)
    return [*documents, SidecarFile(documents[0].source, prompt)] if prompt else [*documents]


def _with_twins(takes: Iterable[ExaminedTake]) -> list[ExaminedTake]:
    """The takes, each sequence with the number of takes before it that ask for the same."""
    seen: Counter[str] = Counter()
    found = list(takes)
    for take in found:
        sequence = take.fields.get("sequence")
        if sequence:
            asked = json.dumps(take.asked, sort_keys=True)
            take.fields["sequence"] = sequence.model_copy(update={"twin": seen[asked]})
            seen[asked] += 1
    return found


def _pins(images: Images, *, with_etags: bool = False) -> dict[str, DropObject]:
    return {
        field: DropObject(
            key=found.key,
            version_id=found.version_id,
            etag=found.etag if with_etags else None,
        )
        for field, (found, _) in images.items()
    }


def _found(images: Images) -> dict[str, Found]:
    return {field: found for field, (found, _) in images.items()}


def _pin(found: Found | None) -> DropObject | None:
    return DropObject(key=found.key, version_id=found.version_id) if found else None


def _ambiguous(pairing: Pairing) -> ErrorDetail:
    audio, sidecar = str(pairing.audio), str(pairing.sidecar)
    files = " and ".join(sorted((audio, *pairing.rivals)))
    keep_one = f"keep one of these audio files and drop {sidecar} again"
    if composed(audio) in map(composed, pairing.rivals):
        ways = "Both names look alike, but their accents are spelled differently in Unicode: "
        ways += keep_one
    elif is_of_one(sidecar, audio):
        others = " and ".join(rival + SIDECAR_SUFFIX for rival in pairing.rivals)
        ways = f"Add {others} and drop {sidecar} again, or {keep_one}"
    else:
        ways = f"Name it {audio}{SIDECAR_SUFFIX}, or {keep_one}"
    return ErrorDetail(
        code="ambiguous_sidecar",
        field="sidecar",
        source=sidecar,
        message=f"{sidecar} could belong to {files}. {ways}.",
    )


def _no_image(field: str, reference: str, key: str, source: str) -> ErrorDetail:
    folders = " Write / between folders, not \\." if "\\" in reference else ""
    return ErrorDetail(
        code=IMAGE_NOT_FOUND,
        field=field,
        source=source,
        allowed="an image that arrives within PairGraceMinutes of its drop",
        message=(
            f"{field} names {_shown(reference)}, but there is no image {_shown(key)}. Upload it "
            f"under this very name, in which case counts, then drop the sidecar again.{folders}"
        ),
    )


def _shown(name: str) -> str:
    """A name of an image; one with an escape may be a URL in the end."""
    return shortened(without_secrets(name) if "%" in name else name, MAX_SHOWN_LENGTH)


def _unknown_size(reference: str) -> ErrorDetail:
    return ErrorDetail(
        code="unknown_size",
        field="video_size",
        value="auto",
        allowed="a preset, a width and height, or an image beside the sidecar",
        message=(
            f"video_size is auto, but the size of {without_secrets(reference)[:100]} cannot be "
            "read, so neither can the cost. Give a size, or put the image beside the sidecar."
        ),
    )


def _too_large_for_auto(key: str, size: tuple[int, int]) -> ErrorDetail:
    pixels = f"{size[0]} x {size[1]}"
    return ErrorDetail(
        code="image_too_large",
        field="image_url",
        value=pixels,
        allowed=f"sides of at most {MAX_SIDE} pixels",
        source=key,
        message=(
            f"video_size is auto, and {key} has {pixels} pixels; fal makes videos with sides of at "
            f"most {MAX_SIDE}. Give a size, or make the image smaller."
        ),
    )


def _too_dear(cost: Estimate, most: Decimal, parameter: str) -> ErrorDetail:
    return ErrorDetail(
        code="cost_too_high",
        field="video_size",
        value=f"{cost.upper_usd} USD",
        allowed=f"at most {most} USD a job",
        message=(
            f"{cost.width} x {cost.height} x {cost.frames} frames are {cost.megapixels:.2f} "
            f"megapixels and could cost {cost.upper_usd} USD; this stack's {parameter} allows "
            f"{most} USD, which is enough for about {_floor_frames(cost, most)} frames. "
            "Make it smaller, shorter or slower (video_size, the audio, fps)."
        ),
    )


def _too_long(sidecar: Sidecar, audio: Audio, frames: int, most: int) -> ErrorDetail:
    if not sidecar.match_audio_length:
        return ErrorDetail(
            code="too_many_frames",
            field="num_frames",
            value=str(frames),
            allowed=f"at most {most}",
            message=f"num_frames is {frames}; this stack makes at most {most}.",
        )
    seconds, fps = _floor(most / sidecar.fps), _floor(most / (audio.seconds or 1))
    slower = f"or lower fps to {fps:.2f} or less, " if fps >= 1 else ""  # the sidecar takes no less
    return ErrorDetail(
        code="audio_too_long",
        field="audio",
        value=f"{audio.seconds:.2f} s",
        allowed=f"at most {most} frames",
        message=(
            f"{audio.seconds:.2f} s at {sidecar.fps:g} fps are {frames} frames; at most {most} can "
            f"be made. Trim the audio to {seconds:.2f} s, {slower}or set match_audio_length to "
            "false and choose num_frames."
        ),
    )


def _floor_frames(cost: Estimate, most: Decimal) -> int:
    """How many frames of that size so many dollars are enough for."""
    return math.floor(cost.frames * most / cost.upper_usd) if cost.upper_usd else 0


def _floor(value: float) -> float:
    """To a hundredth, downwards: what is advised must fit."""
    return math.floor(value * 100) / 100
