"""The device that the Python tests send to, and the account they send with."""

import asyncio
import json
import os
import queue
import subprocess
import threading
from pathlib import Path

import pytest

try:
    import firebase_admin
except ModuleNotFoundError:
    # App servers of old have a virtual environment without it.
    firebase_admin = None

PATIENCE_SECONDS = 20
SUPPORT = Path(__file__).parent.parent / "node" / "support"
RECEIVER = SUPPORT / "receiver.mjs"


class Device:
    """@eneris/push-receiver in a process of its own, which prints what arrives."""

    def __init__(self, project):
        self._process = subprocess.Popen(
            [os.environ["CONFORMANCE_NODE"], str(RECEIVER), project],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        registered = self._next()
        self.token = registered["token"]
        self.fid = registered["fid"]

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def _next(self):
        try:
            return self._lines.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            pytest.fail(f"nothing arrived within {PATIENCE_SECONDS} s")

    def next(self):
        """The oldest message that no test has taken."""
        return self._next()["message"]

    def take(self, count):
        return [self.next() for _ in range(count)]

    def forget(self):
        """What a test that failed left behind."""
        while not self._lines.empty():
            self._lines.get_nowait()

    def stop(self):
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_SECONDS)


def _device(project):
    device = Device(project)
    yield device
    device.stop()


@pytest.fixture(scope="session")
def registered():
    yield from _device("demo")


@pytest.fixture
def device(registered):
    registered.forget()
    return registered


@pytest.fixture(scope="session")
def foreign():
    """A device of a project that the account has no right to."""
    yield from _device("other")


@pytest.fixture(scope="session")
def android_token():
    """Of an Android app whose device never connects."""
    command = [os.environ["CONFORMANCE_NODE"], str(SUPPORT / "android.mjs")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def loop():
    """The SDK keeps its HTTP/2 client, and a client belongs to one event loop."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session", autouse=True)
def app(loop):
    app = firebase_admin and firebase_admin.initialize_app()
    yield app
    if app:
        firebase_admin.delete_app(app)
