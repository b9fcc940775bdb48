"""Senders that others wrote, against our fakes of push services."""

import asyncio
import json
import logging
import os
import ssl
import subprocess

import pytest
import requests
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol
from py_vapid import Vapid02
from pywebpush import WebPushException, webpush

TOPIC = "com.example.app"


class Fake:
    """One of ours (e2e/src/fake): what it prints first are its attributes."""

    def __init__(self, *args):
        self._process = subprocess.Popen(
            [os.environ["CONFORMANCE_FAKE"], *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.__dict__.update(json.loads(self._process.stdout.readline()))

    def do(self, command, **fields):
        print(json.dumps({"do": command, **fields}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def stop(self):
        self._process.stdin.close()
        self._process.wait(timeout=20)


@pytest.fixture(params=["mozilla", "google", "apple"])
def service(request):
    fake = Fake("web-push", request.param)
    yield fake
    fake.stop()


@pytest.fixture
def session(service, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text(service.ca)
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca)
    yield session
    session.close()


def send(session, subscription, text, key, **options):
    return webpush(
        subscription,
        text,
        vapid_private_key=key,
        vapid_claims={"sub": "mailto:push@example.com"},
        requests_session=session,
        ttl=60,
        **options,
    )


def a_key():
    vapid = Vapid02()
    vapid.generate_keys()
    return vapid


def test_pywebpush_delivers(service, session):
    subscription = service.do("subscribe")
    assert send(session, subscription, "hello", a_key()).status_code == 201
    arrival = service.do("arrivals")[0]
    assert (arrival["text"], arrival["ttl"]) == ("hello", 60)


def test_pywebpush_is_refused(service, session):
    subscription = service.do("subscribe")
    with pytest.raises(WebPushException) as refused:
        send(session, subscription, "x" * 4_500, a_key())
    assert refused.value.response.status_code == 413
    with pytest.raises(WebPushException) as refused:
        send(session, subscription, "x", a_key(), content_encoding="aesgcm")
    assert refused.value.response.status_code == 400
    service.do("unsubscribe", endpoint=subscription["endpoint"])
    with pytest.raises(WebPushException) as refused:
        send(session, subscription, "x", a_key())
    assert refused.value.response.status_code == 410


@pytest.fixture
def apns(monkeypatch):
    fake = Fake("apns")
    monkeypatch.setattr(APNsProductionClientProtocol, "APNS_SERVER", "localhost")
    monkeypatch.setattr(APNsProductionClientProtocol, "APNS_PORT", fake.port)
    logging.getLogger("aioapns").setLevel(logging.CRITICAL)
    yield fake
    fake.stop()


def test_aioapns_delivers_and_is_refused(apns):
    key = apns.do("key", key_id="ABC123DEFG", team_id="DEF123GHIJ", topic=TOPIC)["pem"]
    tokens = [f"{number:064x}" for number in range(50)]
    for token in tokens:
        apns.do("device", token=token, topic=TOPIC)
    apns.do("end", token=tokens[0], since=1_600_000_000_000)

    async def send_all():
        context = ssl.create_default_context(cadata=apns.ca)
        client = APNs(
            key=key,
            key_id="ABC123DEFG",
            team_id="DEF123GHIJ",
            topic=TOPIC,
            ssl_context=context,
        )
        message = {"aps": {"alert": "hello"}}
        # The first alone, as Apple wants it of a new connection.
        asked = [tokens[1], tokens[0], "ff" * 32, *tokens[2:]]
        return [
            await client.send_notification(
                NotificationRequest(device_token=token, message=message, push_type=PushType.ALERT)
            )
            for token in asked
        ]

    first, dead, unknown, *others = asyncio.run(send_all())
    assert first.is_successful and all(result.is_successful for result in others)
    assert (dead.status, dead.description) == ("410", "Unregistered")
    assert (unknown.status, unknown.description) == ("400", "BadDeviceToken")
    taken = apns.do("notifications")
    assert len(taken) == 49
    assert taken[0]["payload"] == {"aps": {"alert": "hello"}}
