"""App servers by XMPP, unmodified: slixmpp for stanzas as they are, and aiofcm."""

import asyncio
import json
import os
import queue
import subprocess
import threading
import xml.etree.ElementTree as ET

import aiofcm
import pytest
from slixmpp import ClientXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

KEY = os.environ["CONFORMANCE_SERVER_KEY"]
SENDER = json.loads(os.environ["CONFORMANCE_WEB_CONFIG"])["messagingSenderId"]
PACKAGE = "com.example.demo"
GCM = "google:mobile:data"
PATIENCE_SECONDS = 20


class Phone:
    """A device that listens and talks, in a process of its own (sdk/device/examples/talk.rs)."""

    def __init__(self):
        self._process = subprocess.Popen(
            [os.environ["CONFORMANCE_TALKER"], PACKAGE, SENDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._told = {kind: queue.Queue() for kind in ["token", "data", "taken"]}
        threading.Thread(target=self._read, daemon=True).start()
        self.token = self.next("token")

    def _read(self):
        for line in self._process.stdout:
            for kind, what in json.loads(line).items():
                self._told[kind].put(what)

    def next(self, kind):
        try:
            return self._told[kind].get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            pytest.fail(f"no {kind} within {PATIENCE_SECONDS} s")

    def say(self, message_id, **data):
        print(json.dumps({"message_id": message_id, "data": data}), file=self._process.stdin, flush=True)

    def stop(self):
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def phone():
    phone = Phone()
    yield phone
    phone.stop()


class AppServer(ClientXMPP):
    def __init__(self, key=KEY):
        super().__init__(f"{SENDER}@gcm.googleapis.com", key, sasl_mech="PLAIN")
        self.enable_direct_tls, self.enable_starttls = True, False
        self.ssl_context.load_verify_locations(os.environ["SSL_CERT_FILE"])
        self.ca_certs = os.environ["SSL_CERT_FILE"]
        self.stanzas = asyncio.Queue()
        self.began, self.refused = self.upcoming("session_start"), self.upcoming("failed_auth")
        self.register_handler(
            Callback("message", MatchXPath("{jabber:client}message"), lambda m: self.stanzas.put_nowait(m.xml))
        )

    def upcoming(self, name):
        happened = asyncio.get_event_loop().create_future()
        self.add_event_handler(name, lambda _: happened.done() or happened.set_result(True))
        return happened

    async def connected(self):
        self.connect("fcm-xmpp.googleapis.com", 5235)
        await asyncio.wait_for(self.began, PATIENCE_SECONDS)
        return self

    def say(self, content):
        message = self.make_message(mto="devices@gcm.googleapis.com")
        gcm = ET.SubElement(message.xml, f"{{{GCM}}}gcm")
        gcm.text = json.dumps(content)
        message.send()

    def acknowledge(self, received):
        self.say({"to": received["from"], "message_id": received["message_id"], "message_type": "ack"})

    async def coming(self):
        return await asyncio.wait_for(self.stanzas.get(), PATIENCE_SECONDS)

    async def told(self):
        stanza = await self.coming()
        return stanza, json.loads(stanza.find(f"{{{GCM}}}gcm").text)

    async def leave(self):
        await self.disconnect()


def run(test):
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        asyncio.set_event_loop(loop)
        return runner.run(test())


def test_slixmpp_sends_and_the_ack_says_what_was_sent(phone):
    async def test():
        server = await AppServer().connected()
        server.say({"to": phone.token, "message_id": "m-1", "data": {"word": "ü <&> \"€\""}})
        stanza, ack = await server.told()
        assert ack == {"message_type": "ack", "from": phone.token, "message_id": "m-1"}
        assert not stanza.attrib
        await server.leave()

    run(test)
    assert phone.next("data")["word"] == "ü <&> \"€\""


def test_slixmpp_is_told_what_is_wrong(phone):
    async def test():
        server = await AppServer().connected()
        server.say({"to": "not-a-token", "message_id": "m-1"})
        _, nack = await server.told()
        assert (nack["message_type"], nack["error"]) == ("nack", "BAD_REGISTRATION")
        assert nack["error_description"] == "Invalid token on 'to' field: not-a-token"
        server.say({"to": phone.token})
        stanza = await server.coming()
        error = stanza.find("{jabber:client}error")
        assert (stanza.attrib["type"], error.attrib["code"]) == ("error", "400")
        server.acknowledge({"from": phone.token, "message_id": "never"})
        stanza = await server.coming()
        assert stanza.find("{jabber:client}error").attrib["code"] == "406"
        await server.leave()

    run(test)


def test_slixmpp_is_refused_with_a_wrong_key():
    async def test():
        server = AppServer("AAAAwrong:APA91b")
        server.connect("gcm-xmpp.googleapis.com", 5235)
        assert await asyncio.wait_for(server.refused, PATIENCE_SECONDS)
        await server.disconnect()

    run(test)


def test_what_a_device_says_reaches_slixmpp_once_it_is_acked(phone):
    async def test():
        phone.say("u-1", word="up")
        assert phone.next("taken") == "u-1"
        server = await AppServer().connected()
        stanza, first = await server.told()
        assert (stanza.attrib["type"], stanza.attrib["from"]) == ("normal", "devices@gcm.googleapis.com")
        assert first == {
            "category": PACKAGE,
            "data": {"word": "up"},
            "time_to_live": 3600,
            "message_id": "u-1",
            "from": phone.token,
        }
        await server.leave()
        # It was not acked.
        server = await AppServer().connected()
        _, again = await server.told()
        assert again == first
        server.acknowledge(again)
        await server.leave()
        # It was.
        server = await AppServer().connected()
        phone.say("u-2")
        assert phone.next("taken") == "u-2"
        _, second = await server.told()
        assert second["message_id"] == "u-2"
        server.acknowledge(second)
        await server.leave()

    run(test)


def test_slixmpp_gets_a_receipt(phone):
    async def test():
        server = await AppServer().connected()
        server.say({"to": phone.token, "message_id": "r-1", "delivery_receipt_requested": True})
        kinds = {}
        for _ in range(2):
            stanza, told = await server.told()
            kinds[told["message_type"]] = (stanza.attrib.get("type"), told)
        assert kinds["ack"][0] is None
        kind, receipt = kinds["receipt"]
        assert (kind, receipt["message_id"], receipt["category"]) == ("normal", "dr2:r-1", PACKAGE)
        assert receipt["data"]["message_status"] == "MESSAGE_SENT_TO_DEVICE"
        assert receipt["data"]["device_registration_id"] == phone.token
        assert int(receipt["data"]["message_sent_timestamp"]) > 1_700_000_000_000
        server.acknowledge(receipt)
        await server.leave()

    run(test)
    phone.next("data")


def test_aiofcm_sends(phone):
    async def test():
        fcm = aiofcm.FCM(int(SENDER), KEY, max_connections=2)
        good = aiofcm.Message(device_token=phone.token, data={"word": "aiofcm"})
        answers = await asyncio.wait_for(
            asyncio.gather(fcm.send_message(good), fcm.send_message(aiofcm.Message("nobody", data={"k": "v"}))),
            PATIENCE_SECONDS,
        )
        assert answers[0].is_successful
        assert (answers[1].is_successful, answers[1].status) == (False, "BAD_REGISTRATION")
        assert answers[1].description == "Invalid token on 'to' field: nobody"

    run(test)
    assert phone.next("data")["word"] == "aiofcm"
