"""firebase-admin for Python, unmodified, as an app server: what it asks and how it understands us."""

import datetime
import os
import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
import firebase_admin
from firebase_admin import credentials, exceptions, messaging

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
NAME = re.compile(rf"projects/{PROJECT}/messages/.+")
MALFORMED = "not-a-token"
# Of the right shape, and not of this server: the one in the Admin SDKs' own tests.
STRANGE = (
    "fGw0qy4TGgk:APA91bGtWGjuhp4WRhHXgbabIYp1jxEKI08ofj_v1bKhWAGJQ4e3arRCWzeTfHaLz83mBnDh0a"
    "PWB1AykXAVUUGl2h1wT4XI6XazWpvY7RBUSYfoxtqSWGIm2nvWh2BOP1YG501SsRoE"
)


def numbered(count, token):
    return [messaging.Message(token=token, data={"n": str(n)}) for n in range(count)]


def numbers(messages):
    return sorted(int(message["data"]["n"]) for message in messages)


def test_send(device):
    name = messaging.send(messaging.Message(token=device.token, data={"score": "850", "ü": "€"}))
    assert NAME.fullmatch(name)
    assert device.next()["data"] == {"score": "850", "ü": "€"}


def test_send_to_an_installation_id(device):
    assert NAME.fullmatch(messaging.send(messaging.Message(fid=device.fid, data={"by": "fid"})))
    assert device.next()["data"] == {"by": "fid"}


def test_send_a_notification_with_what_each_platform_adds(device):
    message = messaging.Message(
        token=device.token,
        notification=messaging.Notification(title="Every platform", body="the body"),
        android=messaging.AndroidConfig(priority="high", ttl=datetime.timedelta(hours=1), collapse_key="key"),
        apns=messaging.APNSConfig(
            headers={"apns-priority": "10"},
            payload=messaging.APNSPayload(aps=messaging.Aps(badge=3, sound="default")),
        ),
        webpush=messaging.WebpushConfig(
            headers={"Urgency": "high"},
            notification=messaging.WebpushNotification(title="The web", require_interaction=True),
        ),
        fcm_options=messaging.FCMOptions(analytics_label="conformance"),
    )
    messaging.send(message)
    notification = device.next()["notification"]
    assert (notification["title"], notification["body"]) == ("The web", "the body")


def test_send_each(device):
    answer = messaging.send_each(numbered(3, device.token))
    assert answer.success_count == 3
    assert all(NAME.fullmatch(response.message_id) for response in answer.responses)
    assert numbers(device.take(3)) == [0, 1, 2]


def test_send_each_with_a_hundred_threads(device):
    answer = messaging.send_each(numbered(100, device.token))
    assert answer.success_count == 100
    assert numbers(device.take(100)) == list(range(100))


def test_send_each_async_over_http2(device, loop):
    answer = loop.run(messaging.send_each_async(numbered(120, device.token)))
    assert answer.success_count == 120
    assert numbers(device.take(120)) == list(range(120))


def expect_each_kind(answer):
    kinds = [type(response.exception) for response in answer.responses]
    assert kinds == [
        type(None),
        exceptions.InvalidArgumentError,
        messaging.UnregisteredError,
        messaging.SenderIdMismatchError,
    ]


def multicast(device, foreign):
    tokens = [device.token, MALFORMED, STRANGE, foreign.token]
    return messaging.MulticastMessage(tokens=tokens, data={"to": "many"})


def test_send_each_for_multicast(device, foreign):
    expect_each_kind(messaging.send_each_for_multicast(multicast(device, foreign)))
    assert device.next()["data"] == {"to": "many"}


def test_send_each_for_multicast_async(device, foreign, loop):
    expect_each_kind(loop.run(messaging.send_each_for_multicast_async(multicast(device, foreign))))
    assert device.next()["data"] == {"to": "many"}


def test_a_dry_run_sends_nothing(device):
    dry = messaging.Message(token=device.token, data={"n": "dry"})
    assert NAME.fullmatch(messaging.send(dry, dry_run=True))
    messaging.send(messaging.Message(token=device.token, data={"n": "real"}))
    assert device.next()["data"] == {"n": "real"}


def test_refuses_a_malformed_token():
    with pytest.raises(exceptions.InvalidArgumentError):
        messaging.send(messaging.Message(token=MALFORMED))


def test_refuses_a_token_that_is_not_there():
    with pytest.raises(messaging.UnregisteredError):
        messaging.send(messaging.Message(token=STRANGE))


def test_refuses_an_unknown_installation_id():
    with pytest.raises(messaging.UnregisteredError):
        messaging.send(messaging.Message(fid="not-a-fid"))


def test_refuses_the_token_of_another_project(foreign):
    with pytest.raises(messaging.SenderIdMismatchError):
        messaging.send(messaging.Message(token=foreign.token))


def test_refuses_more_than_4096_bytes(device):
    with pytest.raises(exceptions.InvalidArgumentError):
        messaging.send(messaging.Message(token=device.token, data={"k": "x" * 4100}))


def test_refuses_an_account_whose_key_is_not_its_own(device):
    forger = firebase_admin.initialize_app(forged_account(), name="forger")
    try:
        # google-auth's own complaint, which the SDK passes on: no token was granted.
        with pytest.raises(Exception, match="invalid_grant"):
            messaging.send(messaging.Message(token=device.token), app=forger)
    finally:
        firebase_admin.delete_app(forger)


def forged_account():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return credentials.Certificate(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "client_email": f"firebase-adminsdk@{PROJECT}.iam.gserviceaccount.com",
            "private_key": key.decode(),
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )
