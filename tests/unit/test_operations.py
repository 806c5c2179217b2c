"""What an operator reads is what the code and the template have."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from phonoscene.jobs import JobStatus
from tests.support.template import FILE, ROOT, mentioned, of_type

NAME = "docs/operations.md"
PAGE = (ROOT / NAME).read_text()
SOURCES = [*(ROOT / "layers/common/phonoscene").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]


def metrics_of_the_code() -> set[str]:
    """Every name that is counted or measured; a job's state is counted when it is written."""
    text = "\n".join(Path(file).read_text() for file in SOURCES)
    calls = re.findall(r"\b(?:count|gauge|_answer)\(([^()]*)", text)
    return set(re.findall(r'"([A-Z]\w+)"', "\n".join(calls))) | {
        f"Jobs{status.title()}" for status in JobStatus
    }


def metrics_of_the_template() -> set[str]:
    return set(re.findall(r'\["Phonoscene", "(\w+)"', FILE.read_text()))


def metrics_of_the_page() -> set[str]:
    table = PAGE.partition("## By number")[2].partition("## Routine")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    return {name.strip() for cell in first for name in cell.split(",")} - {"metric"}


def test_code_template_and_page_name_the_same_metrics() -> None:
    assert metrics_of_the_page() == metrics_of_the_code(), (
        f"{NAME} needs a row under “By number” for each metric of the code, and no other"
    )
    assert metrics_of_the_template() == metrics_of_the_code(), (
        "template.yaml needs a line of the dashboard for each metric of the code"
    )


COUNTED = """
from phonoscene.observability import count, logger, metrics
import logging
with_metrics = metrics.log_metrics(lambda event, context: count("DropMessages"))
with_metrics({}, None)
logging.getLogger("phonoscene.videos.output_bucket").warning("video.abort_failed")
"""


def test_a_metric_carries_the_name_of_its_stack_and_a_modules_log_line_is_printed() -> None:
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "layers" / "common"),
        "POWERTOOLS_SERVICE_NAME": "my-second-stack",
        "POWERTOOLS_METRICS_NAMESPACE": "Phonoscene",
    }

    done = subprocess.run(  # noqa: S603 - our own words only
        [sys.executable, "-c", COUNTED], env=environment, capture_output=True, text=True, check=True
    )

    metric, line = map(json.loads, done.stdout.splitlines())
    assert metric["service"] == "my-second-stack"
    assert metric["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert line["message"] == "video.abort_failed"


def test_every_alarm_is_explained() -> None:
    table = PAGE.partition("## By alarm")[2].partition("## By number")[0]

    explained = set(re.findall(r"\b\w+Alarm\b", table))
    assert explained == set(of_type("AWS::CloudWatch::Alarm")), (
        f"{NAME} needs a row under “By alarm” for each alarm of template.yaml, and no other"
    )


def test_every_functions_log_can_be_found() -> None:
    named = set(re.findall(r"\b[A-Z]\w+LogGroup\b", PAGE))

    functions = of_type("AWS::Serverless::Function").values()
    assert named == {one for each in functions for one in mentioned(each["LoggingConfig"])}, (
        f"{NAME} names the log group of each function of template.yaml"
    )


def test_every_alarm_on_a_metric_of_ours_watches_one_that_the_code_has() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    watched = {one["MetricName"] for one in alarms if one["Namespace"] == "Phonoscene"}

    unknown = watched - metrics_of_the_code()
    assert not unknown, f"template.yaml: no code writes {unknown}, so an alarm would never ring"


def test_every_alarm_goes_to_the_topic() -> None:
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert alarm["AlarmDescription"]


def test_the_dashboard_is_json_once_its_names_are_put_in() -> None:
    [dashboard] = of_type("AWS::CloudWatch::Dashboard").values()

    body = json.loads(re.sub(r"\$\{[\w:.]+\}", "x", dashboard["DashboardBody"]["Fn::Sub"]))

    assert len(body["widgets"]) == 8
    assert all(widget["properties"]["metrics"] for widget in body["widgets"])


def test_the_dashboard_shows_no_more_metrics_than_are_free() -> None:
    [dashboard] = of_type("AWS::CloudWatch::Dashboard").values()
    text = dashboard["DashboardBody"]["Fn::Sub"]

    shown = set(re.findall(r'\["\S+", "\w+", "\w+", "[^"]*"', text))

    assert 40 < len(shown) <= 50, (
        "an account's first three dashboards are free with up to 50 metrics each"
    )


def test_the_page_counts_the_metrics_of_a_run_of_reconcile() -> None:
    code = (ROOT / "functions" / "reconcile" / "app.py").read_text()
    page = (ROOT / "docs" / "scale.md").read_text()

    written = len(re.findall(r"\bgauge\(", code))

    usd, paid = f"{written * 0.3:.2f}", f"{(written - 10) * 0.3:.2f}"
    row = f"| {written} metrics that each run of `reconcile` writes, 0.30 each; "
    assert f"{row}an account's first ten are free | {usd} | {paid} |" in page


def test_every_state_is_a_symptom_or_an_end() -> None:
    symptoms = PAGE.partition("## By symptom")[2].partition("## By alarm")[0]

    silent = {JobStatus.SUCCEEDED, JobStatus.CANCELLED}
    assert {status for status in JobStatus if f"`{status}`" not in symptoms} == silent, (
        f"{NAME} names each state under “By symptom”, but for {', '.join(sorted(silent))}"
    )
