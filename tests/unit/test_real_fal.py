"""The real fal from a laptop: what handlers trust, where they go, what a person is asked."""

from __future__ import annotations

import io
import ssl
import wave
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from local import app
from local.cloud import real_fal
from local.cloud.certificates import TlsFiles
from local.cloud.emulator import Fal, emulator_environment, minimal_environment, way_to_fal
from local.cloud.ports import Ports
from local.cloud.real_fal import RealFal
from local.cloud.run_state import Options, Run
from local.commands.options import fal_option, start_options
from local.drops import spending_consent
from local.drops.drops import long_sample_drop, sample_drop
from local.drops.estimates import deciding, estimate_drop, example, interval
from local.errors import LocalCloudError
from local.paths import StateDirectory
from phonoscene.drops.pricing import PRESETS, estimate
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.upload.upload import Drop, FileUpload
from tests.support.media.samples import png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "key-id:key-secret"
HUGE = '{"prompt": "x", "video_size": {"width": 9000, "height": 9000}}'
PORTS = Ports(1, 2, 3)
PRICES = deciding({"MaxFrames": "481"})


@pytest.fixture
def tls_files(tmp_path: Path) -> TlsFiles:
    made = TlsFiles(tmp_path / "ca.pem", tmp_path / "certificate.pem", tmp_path / "key.pem")
    trustme.CA().cert_pem.write_to_path(made.ca_bundle)
    return made


def sound(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        out.writeframes(bytes(int(8000 * seconds)))
    return file.getvalue()


# Where handlers go -------------------------------------------------------------------------------


@pytest.mark.parametrize("environ", [{}, {"FAL_KEY": ""}, {"FAL_KEY": " \n"}])
def test_without_a_key_there_is_no_real_fal(environ: dict[str, str]) -> None:
    with pytest.raises(LocalCloudError, match="FAL_KEY"):
        RealFal.from_env(environ)


@pytest.mark.parametrize("key", ["a b", "a\nb", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(LocalCloudError) as refused:
        RealFal.from_env({"FAL_KEY": key})

    assert key not in str(refused.value)


def test_a_key_is_stripped_and_not_shown() -> None:
    real = RealFal.from_env({"FAL_KEY": f" {KEY}\n"})

    assert real.key == KEY
    assert "key-secret" not in repr(real)
    assert "key-secret" not in repr(Options(real=real))


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({}, {"NO_PROXY": "localhost,127.0.0.1"}),
        (
            {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"},
            {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,127.0.0.1,.example"},
        ),
        (
            {"https_proxy": "http://proxy:3128", "no_proxy": "x"},
            {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,127.0.0.1,x"},
        ),
    ],
)
def test_handlers_reach_the_internet_as_this_persons_programs_do_and_the_emulator_directly(
    environ: dict[str, str], way: dict[str, str]
) -> None:
    assert RealFal.from_env({"FAL_KEY": KEY} | environ).environment() == way


def test_a_simulated_fal_is_all_that_can_be_reached(tls_files: TlsFiles) -> None:
    way = way_to_fal(tls_files, PORTS, None)

    assert way["HTTPS_PROXY"] == "http://127.0.0.1:2"
    assert way["SSL_CERT_FILE"] == str(tls_files.ca_bundle)


def test_with_the_real_one_handlers_trust_the_world_and_the_emulator(tls_files: TlsFiles) -> None:
    way = way_to_fal(tls_files, PORTS, RealFal.from_env({"FAL_KEY": KEY}))

    everybody = ssl.create_default_context(cafile=way["SSL_CERT_FILE"]).get_ca_certs()
    (local,) = ssl.create_default_context(cafile=tls_files.ca_bundle).get_ca_certs()
    assert "HTTPS_PROXY" not in way
    assert local in everybody
    assert len(everybody) > 20


def test_an_authority_of_ones_own_is_trusted_instead_of_the_systems(
    tls_files: TlsFiles, tmp_path: Path
) -> None:
    company = tmp_path / "company.pem"
    trustme.CA(organization_name="company").cert_pem.write_to_path(company)
    real = RealFal.from_env({"FAL_KEY": KEY, "SSL_CERT_FILE": str(company)})

    bundle = real.trust(tls_files.ca_bundle, tmp_path / "all.pem")

    assert len(ssl.create_default_context(cafile=bundle).get_ca_certs()) == 2
    assert company.read_text() in bundle.read_text()


def test_where_the_system_has_no_bundle_certifis_is_taken(
    tls_files: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_fal, "BUNDLES", ("/nonexistent",))
    nowhere = ssl.get_default_verify_paths()._replace(cafile="")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)

    bundle = RealFal(KEY).trust(tls_files.ca_bundle, tmp_path / "all.pem")

    assert len(ssl.create_default_context(cafile=bundle).get_ca_certs()) > 20


@pytest.mark.parametrize("real", [None, RealFal(KEY)])
def test_no_process_gets_the_key_and_the_emulator_writes_none_down(
    tls_files: TlsFiles, tmp_path: Path, real: RealFal | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAL_KEY", KEY)
    state = StateDirectory(tmp_path)

    made = emulator_environment(state, tls_files, PORTS, real)

    assert made["PERSIST_STATE"] == "0"
    assert made["AWS_CA_BUNDLE"] == str(tls_files.ca_bundle)  # AWS is the emulator, and no one else
    assert "key-secret" not in str(made) + str(minimal_environment(state))


def test_a_run_of_the_real_one_is_remembered_without_its_key(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    Run([], PORTS, Fal("", ""), {"AudioDelivery": "fal-storage"}, "print", real=True).save(file)

    found = Run.load(file)

    assert found
    assert found.real
    assert found.fal == Fal("", "")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "value"), [("AudioDelivery", "presigned"), ("ResultsBy", "webhook")]
)
def test_the_real_fal_gets_no_url_of_this_machine(name: str, value: str) -> None:
    real_fal.check_parameters(real_fal.PARAMETERS | {"AskFalSeconds": "9"})

    with pytest.raises(LocalCloudError, match=name):
        real_fal.check_parameters(real_fal.PARAMETERS | {name: value})


# What is said and asked --------------------------------------------------------------------------


def test_the_real_fal_has_an_option_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAL_KEY", KEY)

    real = start_options(None, None, None, real_fal=True).real
    assert real
    assert real.key == KEY
    assert start_options(None, None, None).real is None
    assert fal_option("run-seconds=3") == ("run-seconds", "3")


@pytest.mark.parametrize("words", [("up", "--fal", "real"), ("demo", "--real-fal")])
def test_a_word_that_could_be_meant_otherwise_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words) == 2
    assert "--real-fal" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody at a terminal, who answers."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # so that rich takes stderr for one, too
    return lambda answer: monkeypatch.setattr("sys.stdin", Terminal(answer))


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", " Yes \n"])
def test_a_yes_goes_on(answer: str, person: Callable[[str], None]) -> None:
    person(answer)

    spending_consent.agree_to_pay({}, yes=False)


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yep\n", "ja\n"])
def test_anything_else_does_not(answer: str, person: Callable[[str], None]) -> None:
    person(answer)

    with pytest.raises(LocalCloudError, match="nothing is spent"):
        spending_consent.agree_to_pay({}, yes=False)


def test_a_script_has_to_say_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(WrongUsage, match="--yes"):
        spending_consent.agree_to_pay({}, yes=False)
    spending_consent.agree_to_pay({"DailyBudgetUsd": "7"}, yes=True)

    output = capsys.readouterr().err
    assert "Real money" in output
    assert "$2 a job and $7 a day" in output
    assert interval([example(PRICES)]) in output


# What it costs -----------------------------------------------------------------------------------


def drop(sidecar: str, seconds: float = 2.0, **images: bytes) -> Drop:
    pictures = [FileUpload(name.replace("_", "."), image) for name, image in images.items()]
    return of(sound(seconds), sidecar, *pictures)


def of(audio: bytes, sidecar: str, *images: FileUpload) -> Drop:
    return Drop(FileUpload("song.wav", audio), FileUpload("song.json", sidecar.encode()), images)


def test_a_drop_costs_what_the_product_will_say_it_costs() -> None:
    (answer,) = estimate_drop(drop('{"prompt": "x", "video_size": "square", "fps": 10}'), PRICES)

    assert answer == estimate(20, PRESETS["square"], PRICES.price_per_megapixel_usd)


def test_takes_are_paid_each() -> None:
    takes = '[{"prompt": "x", "video_size": "square"}, {"prompt": "y"}]'

    answer = estimate_drop(drop(takes), PRICES)

    assert [one.width for one in answer] == [512, 1024]
    lower, upper = sum(one.lower_usd for one in answer), sum(one.upper_usd for one in answer)
    assert interval(answer) == f"${lower:.4f} to ${upper:.4f}"


def test_long_audio_costs_what_its_segments_cost() -> None:
    (short,) = estimate_drop(drop('{"prompt": "x"}', 15), PRICES)

    (answer,) = estimate_drop(drop('{"prompt": "x"}', 60), PRICES)

    assert 4 * short.frames <= answer.frames <= 4 * short.frames + 4 * 8
    assert 4 * short.lower_usd <= answer.upper_usd


def test_the_long_sample_takes_several_requests_and_the_short_one_does_not() -> None:
    short, long = (
        estimate_drop(drop, PRICES)[0].frames for drop in (sample_drop(), long_sample_drop())
    )

    assert short <= PRICES.max_frames < long / 2


def test_the_size_is_the_images_where_it_is_to_be() -> None:
    image = png(64, 48)
    sidecar = '{"prompt": "x", "video_size": "auto", "image_url": "cover.png"}'

    (answer,) = estimate_drop(drop(sidecar, cover_png=image), PRICES)

    assert (answer.width, answer.height) == (64, 48)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (drop("no JSON"), "song.json"),
        (drop('{"prompt": "x", "fps": 99, "colour": 1}'), "fps"),
        (drop('{"prompt": "x", "image_url": "cover.png"}'), "image_not_found"),
        (drop('{"prompt": "x"}', 601), "audio_too_long"),
        (drop('{"prompt": "x", "scenes": [{"start": 0}, {"start": 9}]}'), "scene_too_short"),
        (drop(HUGE, 9), "MaxJobCostUsd"),
        (of(b"", '{"prompt": "x"}'), "empty_audio"),
        (of(b"no sound", '{"prompt": "x"}'), "not_audio"),
    ],
)
def test_what_would_be_rejected_is_reported_and_not_priced(wrong: Drop, named: str) -> None:
    with pytest.raises(LocalCloudError) as refused:
        estimate_drop(wrong, PRICES)

    assert "would be rejected" in str(refused.value)
    assert named in str(refused.value)


def test_the_estimate_goes_by_the_stacks_own_prices() -> None:
    dear: Any = {"PricePerMegapixelUsd": "1", "MaxJobCostUsd": "9", "DailyBudgetUsd": "8"}

    prices = deciding(dear)

    assert prices.price_per_megapixel_usd == Decimal(1)
    assert prices.max_job_cost_usd == Decimal(9)
    assert prices.daily_budget_usd == Decimal(8)
    with pytest.raises(LocalCloudError, match="DailyBudgetUsd"):
        estimate_drop(drop('{"prompt": "x"}'), prices)
