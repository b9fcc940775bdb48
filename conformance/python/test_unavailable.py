"""A server whose disk is full, and again has room."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import SUPPORT
from firebase_admin import exceptions, messaging

FILLER = Path(os.environ["CONFORMANCE_FILLER"])

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def full(android_token):
    program = f"import('{SUPPORT}/full.mjs').then(({{ fill }}) => fill('{FILLER}'))"
    subprocess.run([os.environ["CONFORMANCE_NODE"], "-e", program], check=True)
    yield
    FILLER.unlink(missing_ok=True)


def message(token):
    return messaging.Message(token=token, data={"n": "1"})


def test_there_is_no_room(android_token):
    if hasattr(messaging, "send_all"):
        answer = messaging.send_all([message(android_token)])
        assert [type(response.exception) for response in answer.responses] == [exceptions.UnavailableError]
    else:
        # After four more attempts.
        with pytest.raises(exceptions.UnavailableError):
            messaging.send(message(android_token))


def test_once_there_is_room_it_sends(android_token):
    FILLER.unlink()
    assert messaging.send(message(android_token)).startswith("projects/")
