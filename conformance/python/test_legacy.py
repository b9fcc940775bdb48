"""App servers of old, unmodified: pyfcm (JSON, topics) and python-gcm (JSON and forms)."""

import json
import os

import gcm
import pyfcm
import pytest
import requests
from gcm.gcm import GCMAuthenticationException, GCMInvalidRegistrationException, GCMNotRegisteredException

KEY = os.environ["CONFORMANCE_SERVER_KEY"]
STRANGE = "fGw0qy4TGgk:APA91b" + "x" * 134
TOPIC = f"old-{os.getpid()}"


@pytest.fixture(scope="module")
def fcm():
    return pyfcm.FCMNotification(api_key=KEY)


@pytest.fixture(scope="module")
def old():
    return gcm.GCM(KEY)


def group_of(tokens):
    answer = requests.post(
        "https://android.googleapis.com/gcm/notification",
        headers={
            "Authorization": f"key={KEY}",
            "project_id": json.loads(os.environ["CONFORMANCE_WEB_CONFIG"])["messagingSenderId"],
        },
        json={"operation": "create", "notification_key_name": TOPIC, "registration_ids": tokens},
        timeout=20,
    )
    return answer.json()["notification_key"]


def test_pyfcm_sends_to_a_token(fcm, device):
    told = fcm.notify_single_device(
        registration_id=device.token,
        message_title="T",
        message_body="B",
        badge=3,
        sound="default",
        data_message={"n": 1, "text": "ü €"},
        time_to_live=60,
        collapse_key="k",
    )
    assert (told["success"], told["failure"], told["canonical_ids"]) == (1, 0, 0)
    message = device.next()
    assert message["data"] == {"n": "1", "text": "ü €"}
    assert (message["notification"]["title"], message["notification"]["body"]) == ("T", "B")


def test_pyfcm_tells_the_good_token_from_the_bad(fcm, device, foreign):
    tokens = [device.token, "not-a-token", STRANGE, foreign.token]
    told = fcm.multiple_devices_data_message(registration_ids=tokens, data_message={"to": "many"})
    words = [result.get("error") for result in told["results"]]
    assert words == [None, "InvalidRegistration", "NotRegistered", "MismatchSenderId"]
    assert device.next()["data"] == {"to": "many"}


def test_pyfcm_splits_what_is_too_many(fcm):
    told = fcm.multiple_devices_data_message(registration_ids=[STRANGE] * 1_001, data_message={"k": "v"})
    assert (told["success"], told["failure"]) == (0, 1_001)


def test_pyfcm_manages_and_sends_to_a_topic(fcm, device):
    assert fcm.subscribe_registration_ids_to_topic([device.token], TOPIC) is True
    told = fcm.topic_subscribers_data_message(topic_name=TOPIC, data_message={"n": "1"})
    assert told["topic_message_id"] > 0
    message = device.next()
    assert (message["data"], message["from"]) == ({"n": "1"}, f"/topics/{TOPIC}")
    told = fcm.topic_subscribers_data_message(condition=f"'{TOPIC}' in topics", data_message={"n": "2"})
    assert told["topic_message_id"] > 0
    assert device.next()["data"] == {"n": "2"}
    assert fcm.unsubscribe_registration_ids_from_topic([device.token], TOPIC) is True


def test_pyfcm_keeps_the_tokens_that_live(fcm, device):
    assert fcm.clean_registration_ids([device.token, STRANGE, "not-a-token"]) == [device.token]
    info = fcm.get_registration_id_info(device.token)
    assert info["platform"] == "CHROME"


def test_pyfcm_sends_to_a_group(fcm, device):
    told = fcm.notify_single_device(registration_id=group_of([device.token]), data_message={"to": "group"})
    assert (told["success"], told["failure"]) == (1, 0)
    assert device.next()["data"] == {"to": "group"}


def test_pyfcm_is_refused_with_a_bad_key(device):
    with pytest.raises(pyfcm.errors.AuthenticationError):
        pyfcm.FCMNotification(api_key="AAAAbad").notify_single_device(registration_id=device.token, message_body="B")


def test_pyfcm_shows_what_is_wrong_with_a_request(fcm, device):
    with pytest.raises(pyfcm.errors.InvalidDataError, match='"data" key "from" is a reserved keyword'):
        fcm.single_device_data_message(registration_id=device.token, data_message={"from": "me"})


def test_python_gcm_sends_json(old, device):
    told = old.json_request(registration_ids=[device.token, STRANGE], data={"by": "json"}, time_to_live=60)
    assert list(told["success"]) == [device.token]
    assert told["errors"] == {"NotRegistered": [STRANGE]}
    assert device.next()["data"] == {"by": "json"}


def test_python_gcm_sends_forms(old, device):
    old.plaintext_request(registration_id=device.token, data={"by": "form", "text": "a&b=c ü"}, time_to_live=60)
    assert device.next()["data"] == {"by": "form", "text": "a&b=c ü"}
    with pytest.raises(GCMNotRegisteredException):
        old.plaintext_request(registration_id=STRANGE, data={"k": "v"}, retries=1)
    with pytest.raises(GCMInvalidRegistrationException):
        old.plaintext_request(registration_id="not-a-token", data={"k": "v"}, retries=1)


def test_python_gcm_sends_to_a_topic(old):
    assert old.send_topic_message(topic=TOPIC, data={"k": "v"})


def test_python_gcm_is_refused_with_a_bad_key(device):
    with pytest.raises(GCMAuthenticationException):
        gcm.GCM("AAAAbad").json_request(registration_ids=[device.token], data={"k": "v"})
