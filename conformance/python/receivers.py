"""A push receiver for Python, unmodified, in a process of its own: by its name, and with what an application
has kept of it as a JSON object on standard input. Prints what is to be kept, then every message, one JSON
object a line, until it is killed."""

import asyncio
import json
import os
import sys

PACKAGE = "com.example.demo"
# SHA-1 of a certificate that some Android app could be signed with.
CERTIFICATE = "61ed377e85d386a8dfee6b864bd85b0bfaa5af81"
WEB = json.loads(os.environ["CONFORMANCE_WEB_CONFIG"])

# The receivers print as well.
lines, sys.stdout = sys.stdout, sys.stderr


def tell(**what):
    print(json.dumps(what), file=lines, flush=True)


async def firebase_messaging(kept, received):
    """Acknowledges each message on the connection that brought it."""
    from firebase_messaging import FcmPushClient, FcmRegisterConfig

    config = FcmRegisterConfig(WEB["projectId"], WEB["appId"], WEB["apiKey"], WEB["messagingSenderId"])
    client = FcmPushClient(
        lambda message, persistent_id, _: tell(data=message["data"], id=persistent_id),
        config,
        kept,
        received_persistent_ids=received,
    )
    token = await client.checkin_or_register()
    tell(token=token, kept=client.credentials)
    await client.start()
    await asyncio.Event().wait()


async def fcm_receiver(kept, received):
    from fcm_receiver import FCMClient

    client = FCMClient()
    client.project_id, client.app_id, client.api_key = WEB["projectId"], WEB["appId"], WEB["apiKey"]
    client.persistent_ids = received
    if kept:
        client.load_keys(*kept["keys"])
        client.fcm_token, client.gcm_token, client.android_id, client.security_token = kept["registration"]
    else:
        kept = {"keys": client.create_new_keys(), "registration": client.register()}
    client.on_notification_message = lambda message, _: tell(
        data=message["payload"]["data"], id=message["persistentId"]
    )
    tell(token=client.fcm_token, kept=kept)
    client.start_listening()
    await asyncio.Event().wait()


async def rustpluspushreceiver(kept, received):
    """Has the messages of Android apps, which are not encrypted."""
    from push_receiver import PushReceiver
    from push_receiver.android_fcm_register import AndroidFCM

    kept = kept or AndroidFCM.register(
        WEB["apiKey"], WEB["projectId"], WEB["messagingSenderId"], WEB["appId"], PACKAGE, CERTIFICATE
    )
    tell(token=kept["fcm"]["token"], kept=kept)
    PushReceiver(kept, received).listen(
        lambda _, data, stanza: tell(data={"n": data["n"]}, id=stanza.persistent_id)
    )


asyncio.run(globals()[sys.argv[1]](**json.load(sys.stdin)))
