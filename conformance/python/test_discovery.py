"""google-api-python-client, unmodified: it builds itself from our discovery document, and sends."""

import google.auth
import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

SCOPES = ["https://www.googleapis.com/auth/firebase.messaging"]


@pytest.fixture(scope="module")
def fcm():
    credentials, _ = google.auth.default(SCOPES)
    return build("fcm", "v1", credentials=credentials, static_discovery=False, cache_discovery=False)


@pytest.fixture
def parent():
    return f"projects/{google.auth.default()[1]}"


def test_send(fcm, device, parent):
    message = {"token": device.token, "data": {"by": "discovery"}, "android": {"ttl": "3600s"}}
    sent = fcm.projects().messages().send(parent=parent, body={"message": message}).execute()
    assert sent["name"].startswith(f"{parent}/messages/")
    assert device.next()["data"] == {"by": "discovery"}


def test_a_refusal_is_told(fcm, parent):
    send = fcm.projects().messages().send(parent=parent, body={"message": {"token": "not-a-token"}})
    with pytest.raises(HttpError) as refused:
        send.execute()
    assert refused.value.status_code == 400
    assert refused.value.reason == "The registration token is not a valid FCM registration token"


def test_its_batches_go_where_the_document_says(fcm, device, parent):
    answers = {}
    batch = fcm.new_batch_http_request(callback=lambda id, answer, error: answers.update({id: error or answer}))
    for n, token in enumerate([device.token, "not-a-token", device.token]):
        body = {"message": {"token": token, "data": {"n": str(n)}}}
        batch.add(fcm.projects().messages().send(parent=parent, body=body), request_id=str(n))
    batch.execute()
    assert isinstance(answers["1"], HttpError)
    assert {answers[n]["name"].split("/")[0] for n in ("0", "2")} == {"projects"}
    assert {message["data"]["n"] for message in device.take(2)} == {"0", "2"}
