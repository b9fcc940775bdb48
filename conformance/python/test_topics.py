"""Topics and conditions, by firebase-admin for Python, unmodified; the newest and older majors."""

import json
import os
import re

import firebase_admin
import pytest
import requests
from firebase_admin import exceptions, messaging

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
MAJOR = int(firebase_admin.__version__.split(".", maxsplit=1)[0])
# Topics and conditions are told by a number.
NUMBER = re.compile(rf"projects/{PROJECT}/messages/\d+")
STRANGE = "fGw0qy4TGgk:APA91b" + "x" * 134
NEWS, SPORTS = f"news-{os.getpid()}", f"sports-{os.getpid()}"


@pytest.fixture
def subscribed(device):
    assert messaging.subscribe_to_topic([device.token], NEWS).success_count == 1
    yield device
    messaging.unsubscribe_from_topic([device.token], NEWS)


def until_the_end(device):
    """What a device gets before a message that is sent to it alone."""
    messaging.send(messaging.Message(token=device.token, data={"end": "end"}))
    got = []
    while "end" not in (message := device.next())["data"]:
        got.append(message["data"])
    return got


def test_each_token_is_answered_in_its_place(device, foreign):
    tokens = [device.token, "not-a-token", STRANGE, foreign.token]
    answer = messaging.subscribe_to_topic(tokens, f"/topics/{SPORTS}")
    assert (answer.success_count, answer.failure_count) == (1, 3)
    assert [(error.index, error.reason) for error in answer.errors] == [
        (1, "INVALID_ARGUMENT"),
        # Newer majors have words of their own for these.
        (2, "UNREGISTERED" if MAJOR >= 7 else "NOT_FOUND"),
        (3, "SENDER_ID_MISMATCH" if MAJOR >= 7 else "PERMISSION_DENIED"),
    ]


def test_a_topic(subscribed):
    assert NUMBER.fullmatch(messaging.send(messaging.Message(topic=NEWS, data={"n": "1"})))
    message = subscribed.next()
    assert (message["data"], message["from"]) == ({"n": "1"}, f"/topics/{NEWS}")


def test_a_condition(subscribed):
    condition = f"'{NEWS}' in topics && !('nobody' in topics)"
    assert NUMBER.fullmatch(messaging.send(messaging.Message(condition=condition, data={"n": "2"})))
    assert subscribed.next()["data"] == {"n": "2"}
    with pytest.raises(exceptions.InvalidArgumentError):
        messaging.send(messaging.Message(condition=f"'{NEWS}' in", data={}))


def test_a_device_group(device):
    credential = firebase_admin.get_app().credential.get_access_token()
    answer = requests.post(
        "https://fcm.googleapis.com/fcm/notification",
        headers={
            "Authorization": f"Bearer {credential.access_token}",
            "access_token_auth": "true",
            "project_id": json.loads(os.environ["CONFORMANCE_WEB_CONFIG"])["messagingSenderId"],
        },
        json={
            "operation": "create",
            "notification_key_name": f"group-{os.getpid()}",
            "registration_ids": [device.token],
        },
        timeout=20,
    )
    key = answer.json()["notification_key"]
    messaging.send(messaging.Message(token=key, data={"n": "4"}))
    assert device.next()["data"] == {"n": "4"}


def test_who_has_left_gets_nothing(subscribed):
    assert messaging.unsubscribe_from_topic(subscribed.token, NEWS).success_count == 1
    messaging.send(messaging.Message(topic=NEWS, data={"n": "3"}))
    assert until_the_end(subscribed) == []
