"""An S3 server for tests, in this process, with one empty bucket for each test."""

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

KEY, SECRET = "AKIATESTKEYOFGRIP", "secret-of-grip-that-nobody-may-log"


@contextmanager
def server() -> Iterator[str]:
    """The address of a server on the loopback."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=_free(), verbose=False)
    running.start()
    try:
        yield "http://{}:{}".format(*running.get_host_and_port())
    finally:
        running.stop()


def _free() -> int:
    with socket.socket() as looking:
        looking.bind(("127.0.0.1", 0))
        return int(looking.getsockname()[1])


def use(patch: pytest.MonkeyPatch, endpoint: str) -> str:
    """An address in a new bucket. The environment has what the driver needs for it."""
    import fsspec

    for name, value in (
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
    ):
        patch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # an open one keeps the server of an earlier test
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/folder"
