"""Cresset as a push service: pywebpush sends to a browser of Mozilla's, by aiohttp's WebSocket and http_ece."""

import asyncio
import base64
import json
import os
import uuid

import aiohttp
import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from pywebpush import WebPushException, webpush

SERVER = "wss://localhost:8443/"
PATIENCE_SECONDS = 20


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def point(public):
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class Browser:
    def __init__(self, session):
        self._session = session
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        self._told = []
        self._uaid = None

    async def connect(self):
        self._socket = await self._session.ws_connect(SERVER, protocols=["push-notification"])
        assert self._socket.protocol == "push-notification"
        known = {"uaid": self._uaid} if self._uaid else {}
        told = await self._ask(messageType="hello", use_webpush=True, broadcasts={}, **known)
        assert self._uaid in (None, told["uaid"])
        self._uaid = told["uaid"]

    async def subscribe(self, key):
        channel = str(uuid.uuid4())
        # Firefox pads.
        padded = base64.urlsafe_b64encode(key).decode()
        told = await self._ask(messageType="register", channelID=channel, key=padded)
        assert told["status"] == 200
        keys = {"p256dh": b64url(point(self._key.public_key())), "auth": b64url(self._auth)}
        return {"endpoint": told["pushEndpoint"], "keys": keys}

    async def next(self):
        """The text of the next push, which it acknowledges."""
        told = self._told.pop(0) if self._told else await self._hear()
        assert told["messageType"] == "notification"
        update = {"channelID": told["channelID"], "version": told["version"], "code": 100}
        await self._socket.send_json({"messageType": "ack", "updates": [update]})
        data = base64.urlsafe_b64decode(told["data"] + "==")
        parameters = {"version": told["headers"]["encoding"]}
        if parameters["version"] == "aesgcm":
            parameters["dh"] = told["headers"]["crypto_key"].removeprefix("dh=")
            parameters["salt"] = told["headers"]["encryption"].removeprefix("salt=")
            parameters = {
                name: value if name == "version" else base64.urlsafe_b64decode(value + "==")
                for name, value in parameters.items()
            }
        plain = http_ece.decrypt(data, private_key=self._key, auth_secret=self._auth, **parameters)
        return plain.decode()

    async def close(self):
        await self._socket.close()

    async def _ask(self, **question):
        await self._socket.send_json(question)
        while (told := await self._hear())["messageType"] == "notification":
            self._told.append(told)
        return told

    async def _hear(self):
        return json.loads(await self._socket.receive_str(timeout=PATIENCE_SECONDS))


def a_key():
    vapid = Vapid02()
    vapid.generate_keys()
    return vapid


async def send(subscription, text, key, **options):
    options = {"ttl": 60, **options}
    claims = {"sub": "mailto:push@example.com"} if key else None
    return await asyncio.to_thread(
        webpush, subscription, text, vapid_private_key=key, vapid_claims=claims, **options
    )


async def refused(subscription, text, key, **options):
    with pytest.raises(WebPushException) as refusal:
        await send(subscription, text, key, **options)
    return refusal.value.response.status_code


async def pushes():
    key = a_key()
    async with aiohttp.ClientSession() as session:
        browser = Browser(session)
        await browser.connect()
        subscription = await browser.subscribe(point(key.public_key))
        for coding in ("aes128gcm", "aesgcm"):
            answer = await send(subscription, coding, key, content_encoding=coding)
            assert (answer.status_code, answer.headers["ttl"]) == (201, "60")
            assert await browser.next() == coding
        await send(subscription, "now", key, ttl=0)
        assert await browser.next() == "now"
        assert await refused(subscription, "x", a_key()) == 401
        assert await refused(subscription, "x", None) == 401
        assert await refused(subscription, "x" * 4_500, key) == 413
        assert await refused(subscription, "x", key, headers={"topic": "x" * 33}) == 400
        await browser.close()
        await send(subscription, "never", key, ttl=0)
        for text in ("old", "new"):
            await send(subscription, text, key, headers={"topic": "score"})
        await send(subscription, "plain", key)
        await browser.connect()
        assert [await browser.next(), await browser.next()] == ["new", "plain"]
        await browser.close()


def test_pywebpush_reaches_a_browser_or_is_refused():
    asyncio.run(pushes())
