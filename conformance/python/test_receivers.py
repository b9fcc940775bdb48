"""Push receivers that others wrote for Python, and one for Rust, unmodified, each as a device: it
registers, receives, goes away and comes back."""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from firebase_admin import messaging

PROGRAM = [sys.executable, "-B", str(Path(__file__).with_name("receivers.py"))]
# conformance/rust
LISTENER = [os.environ["CONFORMANCE_LISTENER"]]
RECEIVERS = {
    "firebase_messaging": [*PROGRAM, "firebase_messaging"],
    "fcm_receiver": [*PROGRAM, "fcm_receiver"],
    "rustpluspushreceiver": [*PROGRAM, "rustpluspushreceiver"],
    "fcm-push-listener": LISTENER,
}
PATIENCE_SECONDS = 20


class Receiver:
    """What its application keeps, and its process while it is not away."""

    def __init__(self, name):
        self._name = name
        self._kept, self.received = None, []
        self.connect(self.received)

    def connect(self, received):
        self._lines = queue.Queue()
        command = RECEIVERS[self._name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        json.dump({"kept": self._kept, "received": received}, self._process.stdin)
        self._process.stdin.close()
        threading.Thread(target=self._read, args=[self._process.stdout, self._lines], daemon=True).start()
        registered = self._next()
        self.token, self._kept = registered["token"], registered["kept"]

    @staticmethod
    def _read(stdout, lines):
        for line in stdout:
            lines.put(json.loads(line))

    def _next(self):
        try:
            return self._lines.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            pytest.fail(f"{self._name}: nothing arrived within {PATIENCE_SECONDS} s")

    def next(self):
        message = self._next()
        self.received.append(message["id"])
        return message["data"]["n"]

    def disconnect(self):
        """Without a farewell: an application that is killed."""
        self._process.kill()
        self._process.wait()

    def send(self, n):
        messaging.send(messaging.Message(token=self.token, data={"n": n}))


@pytest.fixture(scope="module", params=RECEIVERS)
def receiver(request):
    receiver = Receiver(request.param)
    yield receiver
    receiver.disconnect()


def test_it_receives_while_it_is_connected(receiver):
    # When the first is there it is connected for certain.
    for n in ["1", "2"]:
        receiver.send(n)
        assert receiver.next() == n


def test_it_gets_what_was_sent_while_it_was_away_and_nothing_that_it_has(receiver):
    receiver.disconnect()
    receiver.send("3")
    receiver.connect(receiver.received)
    assert receiver.next() == "3"
    receiver.send("4")
    assert receiver.next() == "4"
    assert len(set(receiver.received)) == 4


@pytest.mark.parametrize("receiver", ["firebase_messaging"], indirect=True)
def test_what_it_acknowledged_at_once_does_not_come_again(receiver):
    receiver.send("5")
    assert receiver.next() == "5"
    # Answered in order: with this one the acknowledgement before it has arrived.
    receiver.send("6")
    assert receiver.next() == "6"
    receiver.disconnect()
    receiver.connect([])
    receiver.send("7")
    arrived = [receiver.next()]
    while arrived[-1] != "7":
        arrived.append(receiver.next())
    assert "5" not in arrived
