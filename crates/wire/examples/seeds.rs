//! Writes the seeds of the fuzz targets whose input is binary (fuzz/README.md), as our own ends of the
//! protocols write it: `cargo run -p cresset-wire --example seeds`.

use std::path::Path;

use cresset_message::{GroupId, ProjectNumber, RegistrationId, WebKeys};
use cresset_wire::checkin::{
    AndroidCheckin, AndroidCheckinRequest, AndroidCheckinResponse, ChromeBuild, DeviceType,
};
use cresset_wire::mcs::{
    AppData, Close, DataMessageStanza, Frame, HeartbeatAck, HeartbeatPing, HeartbeatStat, IqStanza,
    LoginRequest, LoginResponse, SELECTIVE_ACK, STREAM_ACK, SelectiveAck, Setting, VERSION, encode,
};
use cresset_wire::token::{TokenKey, group_key, registration_token};
use cresset_wire::webpush::{KeyPair, aes128gcm, aesgcm, encode_base64};

const ID: &str = "0:1711623408410794%7031b2e6f9fd7ecd";

fn main() -> std::io::Result<()> {
    mcs()?;
    mcs_session()?;
    checkin()?;
    token()?;
    webpush()
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}

fn login() -> Frame {
    Frame::LoginRequest(Box::new(LoginRequest {
        id: "chrome-156".into(),
        domain: "mcs.android.com".into(),
        user: "42".into(),
        resource: "42".into(),
        auth_token: "7".into(),
        device_id: Some("android-2a".into()),
        setting: vec![Setting { name: "new_vc".into(), value: "1".into() }],
        received_persistent_id: vec![format!("{ID}|{ID}")],
        heartbeat_stat: Some(HeartbeatStat { ip: String::new(), timeout: true, interval_ms: 300_000 }),
        use_rmq2: Some(true),
        auth_service: Some(2),
        ..LoginRequest::default()
    }))
}

fn acks() -> [Frame; 2] {
    let selective = SelectiveAck { id: vec![ID.into()] }.into_iq();
    let mut stream = IqStanza::carrying(STREAM_ACK, Vec::new());
    stream.last_stream_id_received = Some(3);
    [Frame::Iq(Box::new(selective)), Frame::Iq(Box::new(stream))]
}

fn upstream() -> Frame {
    Frame::Data(Box::new(DataMessageStanza {
        from: "gcm@chrome.com".into(),
        to: Some("123456789012@gcm.googleapis.com".into()),
        category: "com.example.app".into(),
        app_data: vec![AppData::new("k", "v")],
        persistent_id: Some("1".into()),
        ttl: Some(0),
        immediate_ack: Some(true),
        ..DataMessageStanza::default()
    }))
}

fn stream(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    frames.iter().for_each(|frame| encode(frame, &mut bytes));
    bytes
}

fn mcs() -> std::io::Result<()> {
    let [selective, by_stream] = acks();
    let ping =
        Frame::HeartbeatPing(HeartbeatPing { last_stream_id_received: Some(2), ..HeartbeatPing::default() });
    let device = stream(&[login(), ping, selective, by_stream, upstream(), Frame::Close(Close {})]);
    // Seven bytes at a time, to a server.
    write("mcs", "device", &[&[7][..], &device].concat())?;
    let response = LoginResponse { last_stream_id_received: Some(1), ..LoginResponse::default() };
    let message = DataMessageStanza {
        from: "123456789012".into(),
        category: "com.example.app".into(),
        app_data: vec![AppData::new("k", "v")],
        persistent_id: Some(ID.into()),
        raw_data: Some(vec![0xff; 20]),
        ..DataMessageStanza::default()
    };
    let server = stream(&[
        Frame::LoginResponse(Box::new(response)),
        Frame::Iq(Box::new(IqStanza::carrying(SELECTIVE_ACK, Vec::new()))),
        Frame::Data(Box::new(message)),
        Frame::HeartbeatAck(HeartbeatAck::default()),
    ]);
    write("mcs", "server", &[&[0x83][..], &server].concat())
}

/// Steps of `fuzz/bodies/mcs_session.rs`.
fn mcs_session() -> std::io::Result<()> {
    let received = |frame: &Frame| {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        [&[0, u8::try_from(bytes.len()).expect("a short frame")][..], &bytes].concat()
    };
    let [selective, by_stream] = acks();
    let ping = Frame::HeartbeatPing(HeartbeatPing::default());
    let ack = Frame::HeartbeatAck(HeartbeatAck::default());
    let logged_in = [received(&login()), vec![4, 1]].concat();
    let life = [
        logged_in.clone(),
        vec![5, 1, 5, 2, 5, 3],
        received(&by_stream),
        received(&selective),
        received(&ping),
        received(&upstream()),
        vec![7, 1],
        received(&ack),
        vec![6, 20, 7, 1, 7, 1, 7, 1],
        received(&Frame::Close(Close {})),
    ];
    write("mcs_session", "life", &life.concat())?;
    write("mcs_session", "refused", &[received(&login()), vec![4, 0]].concat())?;
    write("mcs_session", "shutdown", &[logged_in, vec![5, 1, 7, 0, 5, 2]].concat())?;
    write("mcs_session", "late", &[6, 1, 4, 1])
}

fn checkin() -> std::io::Result<()> {
    let build = ChromeBuild { platform: Some(3), chrome_version: Some("156.0.0.0".into()), channel: Some(1) };
    let request = AndroidCheckinRequest {
        id: Some(42),
        security_token: Some(7),
        version: Some(3),
        checkin: AndroidCheckin {
            r#type: Some(DeviceType::ChromeBrowser.into()),
            chrome_build: Some(build),
            ..AndroidCheckin::default()
        },
        ..AndroidCheckinRequest::default()
    };
    write("checkin", "request", &request.to_bytes())?;
    let response = AndroidCheckinResponse::identifying(42, 7, 1_711_623_408_410)
        .replacing_settings([("gcm_hostname", "a.test")]);
    write("checkin", "response", &response.to_bytes())
}

/// Under the secret of `fuzz/bodies/token.rs`.
fn token() -> std::io::Result<()> {
    let key = TokenKey::new(&[7; 32]);
    let id = RegistrationId { project: ProjectNumber(123_456_789_012), bucket: 1, slot: 2 };
    write("token", "registration", registration_token(&key, "abcdefghijk", id).as_bytes())?;
    let group = GroupId { project: id.project, unique: [3; 32] };
    write("token", "group", group_key(&key, group).as_bytes())?;
    let foreign = registration_token(&TokenKey::new(&[8; 32]), "cdefghijklmnopqrstuvwx", id);
    write("token", "foreign", foreign.as_bytes())?;
    write("token", "fid", b"cdefghijklmnopqrstuvwx")
}

/// For the keys of `fuzz/bodies/webpush.rs`.
fn webpush() -> std::io::Result<()> {
    let failed = |error| std::io::Error::other(format!("{error}"));
    let pair = KeyPair::from_scalar(&[7; 32]).map_err(failed)?;
    let keys = WebKeys { p256dh: *pair.public(), auth: [9; 16] };
    let ephemeral = KeyPair::from_scalar(&[5; 32]).map_err(failed)?;
    let sealed = aesgcm::seal(&keys, b"{}", [1; 16], &ephemeral).map_err(failed)?;
    let head = format!("{}\n{}\n", sealed.crypto_key, sealed.encryption);
    write("webpush", "aesgcm", &[head.as_bytes(), &sealed.body].concat())?;
    write("webpush", "aes128gcm", &aes128gcm::seal(&keys, b"{}", [1; 16], &ephemeral).map_err(failed)?)?;
    let keys = format!("{}\n{}\n", encode_base64(keys.p256dh), encode_base64(keys.auth));
    write("webpush", "subscription", keys.as_bytes())
}
