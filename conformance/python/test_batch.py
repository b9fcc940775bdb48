"""Older majors of firebase-admin for Python, unmodified: they send their batches as multipart/mixed to
/batch, where Google no longer answers."""

import os
import re

import firebase_admin
import pytest
from firebase_admin import exceptions, messaging

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
NAME = re.compile(rf"projects/{PROJECT}/messages/.+")
MAJOR = int(firebase_admin.__version__.split(".", maxsplit=1)[0])
STRANGE = "fGw0qy4TGgk:APA91b" + "x" * 134

# For many messages, and for one message to many tokens. send_each came with 6.2.
PAIRS = [("send_all", "send_multicast"), ("send_each", "send_each_for_multicast")]
HAS = {5: PAIRS[:1], 6: PAIRS, 7: PAIRS[1:]}[MAJOR]
MANY = pytest.mark.parametrize("many", [getattr(messaging, many) for many, _ in HAS])
MULTICAST = pytest.mark.parametrize("multicast", [getattr(messaging, multicast) for _, multicast in HAS])

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_has_what_it_is_known_for():
    assert [hasattr(messaging, many) for many, _ in PAIRS] == [pair in HAS for pair in PAIRS]


def test_send(device):
    assert NAME.fullmatch(messaging.send(messaging.Message(token=device.token, data={"ü": "€"})))
    assert device.next()["data"] == {"ü": "€"}


@MANY
def test_answers_come_in_the_order_of_the_messages(device, foreign, many):
    tokens = [device.token, "not-a-token", device.token, STRANGE, foreign.token, device.token]
    messages = [messaging.Message(token=t, data={"n": str(n), "text": "ü €"}) for n, t in enumerate(tokens)]
    answer = many(messages)
    assert (answer.success_count, answer.failure_count) == (3, 3)
    assert [type(response.exception) for response in answer.responses] == [
        type(None),
        exceptions.InvalidArgumentError,
        type(None),
        messaging.UnregisteredError,
        messaging.SenderIdMismatchError,
        type(None),
    ]
    assert all(NAME.fullmatch(response.message_id) for response in answer.responses if response.success)
    received = [message["data"] for message in device.take(3)]
    assert {data["n"] for data in received} == {"0", "2", "5"}
    assert {data["text"] for data in received} == {"ü €"}


@MANY
def test_each_message_id_is_the_one_that_arrives(device, many):
    answer = many([messaging.Message(token=device.token, data={"n": str(n)}) for n in range(20)])
    arrived = {message["data"]["n"]: message["fcmMessageId"] for message in device.take(20)}
    told = {str(n): response.message_id for n, response in enumerate(answer.responses)}
    assert told == {n: f"projects/{PROJECT}/messages/{id}" for n, id in arrived.items()}


@MANY
def test_five_hundred_and_all_of_them_dry(device, many):
    dry = [messaging.Message(token=device.token, data={"n": "dry"}) for _ in range(500)]
    answer = many(dry, dry_run=True)
    assert answer.success_count == 500
    assert len({response.message_id for response in answer.responses}) == 500
    messaging.send(messaging.Message(token=device.token, data={"n": "real"}))
    assert device.next()["data"] == {"n": "real"}


@MULTICAST
def test_multicast(device, multicast):
    answer = multicast(messaging.MulticastMessage(tokens=[STRANGE, device.token], data={"to": "many"}))
    assert [response.success for response in answer.responses] == [False, True]
    assert device.next()["data"] == {"to": "many"}
