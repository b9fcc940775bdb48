"""What is too much, under FCM's own limits: 240 messages to an Android device in a minute, and for a
project here so many as the run says.

The lists go by HTTP/2, or in a batch: elsewhere the SDK waits for as long as Retry-After says, and
sends again."""

import os

import pytest
from firebase_admin import exceptions, messaging

DEVICE_PER_MINUTE = 240
PROJECT_PER_MINUTE = int(os.environ["CONFORMANCE_PROJECT_PER_MINUTE"])

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def send_many(loop, messages, dry_run=False):
    if hasattr(messaging, "send_all"):
        return messaging.send_all(messages, dry_run)
    return loop.run(messaging.send_each_async(messages, dry_run))


def failures(answer):
    return [type(response.exception) for response in answer.responses if not response.success]


def test_a_device_may_get_240_messages_in_a_minute(android_token, loop):
    message = messaging.Message(token=android_token, data={"n": "1"})
    answer = send_many(loop, [message] * (DEVICE_PER_MINUTE + 1))
    assert failures(answer) == [messaging.QuotaExceededError]


def test_a_project_may_send_so_much_in_a_minute(android_token, loop):
    left = PROJECT_PER_MINUTE - (DEVICE_PER_MINUTE + 1)
    dry = [messaging.Message(token=android_token)] * left
    assert failures(send_many(loop, dry, dry_run=True)) == []
    # No error of FCM's own: the class is the status's.
    one_more = send_many(loop, dry[:1], dry_run=True)
    assert failures(one_more) == [exceptions.ResourceExhaustedError]
