"""Delete what a stack keeps of one folder: files, videos, receipts, and the items of its jobs.

remove.py STACK FOLDER              shows how much it would delete
remove.py STACK FOLDER --delete     deletes it
"""

from __future__ import annotations

import sys
import unicodedata
from argparse import ArgumentParser
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

ENDED = {"SUCCEEDED", "FAILED", "REJECTED", "CANCELLED"}
SEGMENTS = "_segments/"
#: What S3 deletes at once.
MOST = 1000


def main() -> None:
    """Read the options, and delete."""
    parser = ArgumentParser()
    parser.add_argument("stack")
    parser.add_argument("folder", help="such as acme/")
    parser.add_argument("--delete", action="store_true", help="otherwise only show how much")
    options = parser.parse_args()
    stacks = boto3.client("cloudformation").describe_stacks(StackName=options.stack)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stacks[0]["Outputs"]}
    typed = options.folder.strip("/") + "/"
    folder = unicodedata.normalize("NFC", typed)  # as names are
    if folder == "/":
        sys.exit("An empty folder is the whole stack. Name a folder.")

    table = outputs["JobsTableName"]
    removed, work = found_in(items_of(table), folder)
    spellings = {folder, typed, unicodedata.normalize("NFD", folder)}
    prefixes = {
        outputs["DropBucketName"]: spellings,
        outputs["OutputBucketName"]: spellings | work,
    }
    done = "deleted" if options.delete else "would be deleted"
    for bucket, found in prefixes.items():
        versions = [one for prefix in sorted(found) for one in versions_of(bucket, prefix)]
        if options.delete:
            delete_versions(bucket, versions)
        print(f"{len(versions)} versions of {bucket} {done}")
    if options.delete:
        delete_items(table, removed)
    print(f"{len(removed)} items of {table} {done}")


def found_in(items: list[dict[str, Any]], folder: str) -> tuple[list[str], set[str]]:
    """The ids of a folder's items, jobs last, and how the keys of its work files begin.

    What is left to delete, if it is interrupted, is found by the jobs.
    """
    jobs = [one for one in items if one.get("name", "").removeprefix(SEGMENTS).startswith(folder)]
    ids = {one["job_id"] for one in jobs}
    work = set[str]().union(*map(work_files, jobs))
    users = ids.union(*(one.get("wanted_by", ()) for one in jobs))
    refuse_unfinished(
        [one for one in items if one["job_id"] in users or uses(one, ids) or work & work_files(one)]
    )
    others = [one["job_id"] for one in items if not ids.isdisjoint(named(one))]
    return [*others, *sorted(ids)], work


def refuse_unfinished(jobs: list[Any]) -> None:
    """Stop if a job is in progress: it holds a slot and money, and writes or reads files."""
    lines = [
        f"{one['name']} is {one['status']} (job {one['job_id']})"
        for one in jobs
        if one["status"] not in ENDED
    ]
    if lines:
        rule = "Nothing was deleted. Cancel these jobs, or wait until they have ended:"
        sys.exit("\n".join([rule, *lines]))


def items_of(table: str) -> list[dict[str, Any]]:
    """All items of the table: no index has folders."""
    pages = (
        boto3.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=table,
            ProjectionExpression="job_id, #name, #status, #sequence, holders, same_as, wanted_by",
            ExpressionAttributeNames={
                "#name": "name",
                "#status": "status",
                "#sequence": "sequence",
            },
        )
    )
    plain = TypeDeserializer().deserialize
    return [
        {name: plain(value) for name, value in item.items()}
        for page in pages
        for item in page["Items"]
    ]


def named(item: dict[str, Any]) -> set[str]:
    """The ids of the jobs that the item of a content or of a repetition names."""
    return {one["job_id"] for one in item.get("holders", [])} | {item.get("same_as", "")}


def segments_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The segments of a sequence; of any other item none."""
    segments: list[dict[str, Any]] = (item.get("sequence") or {}).get("segments", [])
    return segments


def uses(item: dict[str, Any], ids: set[str]) -> bool:
    """Whether a sequence has one of these jobs as a segment."""
    return any(one.get("job_id") in ids for one in segments_of(item))


def work_files(item: dict[str, Any]) -> set[str]:
    """How the keys of a segment's video and last frame begin, and those of a sequence's slices."""
    if item.get("name", "").startswith(SEGMENTS):
        return {f"{SEGMENTS}{item['job_id']}.", f"_work/frames/{item['job_id']}."}
    return {one["slice"]["key"] for one in segments_of(item) if one.get("slice")}


def versions_of(bucket: str, prefix: str) -> list[dict[str, str]]:
    """All versions and delete markers below a prefix."""
    paginator = boto3.client("s3").get_paginator("list_object_versions")
    pages = paginator.paginate(Bucket=bucket, Prefix=prefix)
    return [
        {"Key": one["Key"], "VersionId": one["VersionId"]}
        for page in pages
        for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    ]


def delete_versions(bucket: str, versions: list[dict[str, str]]) -> None:
    """Delete them, or stop at the first that S3 does not delete."""
    s3: Any = boto3.client("s3")
    for start in range(0, len(versions), MOST):
        some = {"Objects": versions[start : start + MOST], "Quiet": True}
        for error in s3.delete_objects(Bucket=bucket, Delete=some).get("Errors", []):
            sys.exit(f"{error['Key']} is not deleted: {error['Code']}. Correct it, and try again.")


def delete_items(table: str, ids: list[str]) -> None:
    """Delete items of the table, in their order."""
    dynamodb = boto3.client("dynamodb")
    for one in ids:
        dynamodb.delete_item(TableName=table, Key={"job_id": {"S": one}})


if __name__ == "__main__":
    main()
