"""Every error class of firebase-admin's that a healthy server can cause by the send API. Nothing on the
wire leads to the others: InternalError and UnknownError would be our fault, ThirdPartyAuthError needs
Apple, and ValueError is the SDK's own. Rates are in test_quota.py, UnavailableError in
test_unavailable.py."""

import os

import firebase_admin
import google.oauth2.credentials
import pytest
from firebase_admin import credentials, exceptions, messaging

STRANGE = "fGw0qy4TGgk:APA91b" + "x" * 134

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


# All ways of this version to send a list.
LISTS = [getattr(messaging, name) for name in ["send_each", "send_all"] if hasattr(messaging, name)]


def expect(error, message, app=None):
    """Exactly that class, alone and in a list."""
    with pytest.raises(exceptions.FirebaseError) as raised:
        messaging.send(message, app=app)
    assert type(raised.value) is error
    assert str(raised.value)
    for send in LISTS:
        answer = send([message], app=app)
        assert [type(response.exception) for response in answer.responses] == [error]


def to(device, **more):
    return messaging.Message(token=device.token, **more)


def test_a_malformed_token():
    expect(exceptions.InvalidArgumentError, messaging.Message(token="not-a-token"))


def test_a_reserved_key_of_data(device):
    expect(exceptions.InvalidArgumentError, to(device, data={"from": "me"}))


def test_4097_bytes(device):
    expect(exceptions.InvalidArgumentError, to(device, data={"k": "x" * 4096}))


def test_a_header_that_is_no_number(device):
    expect(exceptions.InvalidArgumentError, to(device, webpush=messaging.WebpushConfig(headers={"TTL": "x"})))


def test_a_condition_that_is_none():
    expect(exceptions.InvalidArgumentError, messaging.Message(condition="("))


def test_a_strange_token():
    expect(messaging.UnregisteredError, messaging.Message(token=STRANGE))


def test_another_projects_token(foreign):
    expect(messaging.SenderIdMismatchError, messaging.Message(token=foreign.token))


@pytest.mark.parametrize("project", ["other", "no-such-project"])
def test_another_projects_path(device, project):
    key = credentials.Certificate(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
    stranger = firebase_admin.initialize_app(key, {"projectId": project}, name=project)
    try:
        expect(exceptions.PermissionDeniedError, to(device), app=stranger)
    finally:
        firebase_admin.delete_app(stranger)


class Forged(credentials.Base):
    """An access token that nobody gave it, and the next one as well."""

    class Token(google.oauth2.credentials.Credentials):
        def refresh(self, request):
            self.token = "ya29.forged"

    def get_credential(self):
        return self.Token("ya29.forged")


def test_an_access_token_that_nobody_gave(device):
    project = {"projectId": os.environ["GOOGLE_CLOUD_PROJECT"]}
    forger = firebase_admin.initialize_app(Forged(), project, name="forger")
    try:
        with pytest.raises(exceptions.UnauthenticatedError):
            messaging.send(to(device), app=forger)
    finally:
        firebase_admin.delete_app(forger)
