"""One copy in a process of its own, measured from within: `python ways.py WAY FROM TO`.

The ways are what people write; ``ours`` is the deployed code, and runs on the built layer alone.
Whatever a way needs is imported and connected to AWS before its clock starts.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET = "outputs"


def ours(url: str, key: str) -> Callable[[], object]:
    """The store path as it is deployed: ranges read ahead, parts sent side by side."""
    import app  # type: ignore[import-not-found]  # noqa: PLC0415 - the function, by its folder
    import boto3  # noqa: PLC0415

    from phonoscene.videos.cdn import Cdn  # noqa: PLC0415
    from phonoscene.videos.output_bucket import OutputBucket  # noqa: PLC0415
    from phonoscene.videos.video_formats import Examination, check_container  # noqa: PLC0415

    cdn, output = Cdn(5 * 1024**3), OutputBucket(boto3.client("s3", config=app.UNSIGNED), BUCKET)

    def copy() -> None:
        with cdn.open(url) as source:
            check_container(source.head, ".mp4")
            output.store(source, key, "video/mp4", Examination(".mp4", takes_cut=True))

    return copy


def memory(url: str, key: str) -> Callable[[], object]:
    """The whole body in memory, then one PUT."""
    import urllib.request  # noqa: PLC0415

    s3 = _s3()

    def copy() -> None:
        with urllib.request.urlopen(url) as response:  # noqa: S310 - our own URL
            s3.put_object(Bucket=BUCKET, Key=key, Body=response.read())

    return copy


def disk(url: str, key: str) -> Callable[[], object]:
    """Down to /tmp, then boto3's own upload in parts."""
    import shutil  # noqa: PLC0415
    import tempfile  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    s3 = _s3()

    def copy() -> None:
        with tempfile.NamedTemporaryFile() as file:
            with urllib.request.urlopen(url) as response:  # noqa: S310 - our own URL
                shutil.copyfileobj(response, file, 1024 * 1024)
            file.flush()
            s3.upload_file(file.name, BUCKET, key)

    return copy


def fileobj(url: str, key: str) -> Callable[[], object]:
    """boto3 reads from the open response, and sends parts side by side."""
    import requests  # noqa: PLC0415

    s3 = _s3()

    def copy() -> None:
        with requests.get(url, stream=True, timeout=60) as response:
            s3.upload_fileobj(response.raw, BUCKET, key)

    return copy


def smart_open(url: str, key: str) -> Callable[[], object]:
    """smart_open at both ends."""
    import shutil  # noqa: PLC0415

    import smart_open as library  # noqa: PLC0415

    client = {"client": _s3()}

    def copy() -> None:
        target = library.open(f"s3://{BUCKET}/{key}", "wb", transport_params=client)
        with library.open(url, "rb") as source, target as sink:
            shutil.copyfileobj(source, sink, 1024 * 1024)

    return copy


def pipe(url: str, key: str) -> Callable[[], object]:
    """No more than what must be: bytes from one TLS socket into another, one by one, unchecked."""
    context = ssl.create_default_context()

    def copy() -> None:
        with _from_cdn(context, url) as source, _to_s3(context) as sink:
            length = _begin_get(source, url)
            head = f"PUT /{BUCKET}/{key} HTTP/1.1\r\nHost: s3\r\nContent-Length: {length}\r\n\r\n"
            sink.sendall(head.encode())
            _pour(source, sink, length)
            if not sink.recv(4096).startswith(b"HTTP/1.1 200"):
                raise ConnectionError("the sink refused")

    return copy


def _from_cdn(context: ssl.SSLContext, url: str) -> ssl.SSLSocket:
    host, proxy = urlsplit(url).hostname or "", urlsplit(os.environ["HTTPS_PROXY"])
    plain = socket.create_connection((proxy.hostname or "", proxy.port or 0))
    plain.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    plain.recv(4096)
    return context.wrap_socket(plain, server_hostname=host)


def _to_s3(context: ssl.SSLContext) -> ssl.SSLSocket:
    at = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    plain = socket.create_connection((at.hostname or "", at.port or 0))
    return context.wrap_socket(plain, server_hostname=at.hostname)


def _begin_get(source: ssl.SSLSocket, url: str) -> int:
    """Ask for the video, and read the answer's head to its last byte; the body's length."""
    split = urlsplit(url)
    source.sendall(f"GET {split.path} HTTP/1.1\r\nHost: {split.hostname}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += source.recv(1)
    lines = dict(line.split(b": ") for line in head.split(b"\r\n")[1:-2])
    return int(lines[b"Content-Length"])


def _pour(source: ssl.SSLSocket, sink: ssl.SSLSocket, length: int) -> None:
    buffer = memoryview(bytearray(256 * 1024))
    while length:
        count = source.recv_into(buffer)
        if not count:
            raise ConnectionError("the source ended early")
        sink.sendall(buffer[:count])
        length -= count


def _s3() -> Any:
    import boto3  # noqa: PLC0415

    return boto3.client("s3")


WAYS = {way.__name__: way for way in (ours, memory, disk, fileobj, smart_open, pipe)}


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """The most memory this process has had; getrusage would tell of the parent as well."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, where there is no /proc


def main() -> None:
    """Copy once; print what it took as JSON."""
    way, url, key = sys.argv[1:]
    copy = WAYS[way](url, key)
    before = peak_bytes()
    cpu, wall = cpu_seconds(), time.perf_counter()
    copy()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak_bytes(), "before": before}))


if __name__ == "__main__":
    main()
