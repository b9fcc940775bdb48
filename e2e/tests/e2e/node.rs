//! Node's Admin SDK says `:scheme: https:` on HTTP/2 (`protocol/http-v1.md` §1.1), over real TLS:
//! frames by hand, because no library sends that.

use cresset_e2e::{TestServer, World, patiently};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{next, saying};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, entry 8 of the static table (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

#[tokio::test]
async fn requests_with_nodes_scheme_are_answered() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    for scheme in ["https:", "https"] {
        let mut node = Node::connect(&world).await;
        // Two on one connection: the second must be read with what the first left behind.
        for stream in [1, 3] {
            let word = format!("{scheme} {stream}");
            let body = json!({ "message": saying(&device, &word) }).to_string();
            node.request(&world, scheme, stream, &body).await;
            let (status, answer) = patiently("an answer", node.answer(stream)).await;
            assert_eq!(status, STATUS_200, "{answer}");
            let id = answer["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            let message = next(&mut connection).await;
            assert_eq!((message.persistent_id(), message.get("word")), (&*id, Some(&*word)));
        }
    }
}

struct Node(TlsStream<TcpStream>);

impl Node {
    async fn connect(world: &World) -> Self {
        let socket = TcpStream::connect(world.running.https).await.unwrap();
        let name = ServerName::try_from("fcm.googleapis.com").unwrap();
        let tls = TlsConnector::from(world.trust.client(&[b"h2"]).unwrap());
        let mut stream = tls.connect(name, socket).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut node = Self(stream);
        node.frame(SETTINGS, 0, 0, &[]).await;
        node
    }

    async fn request(&mut self, world: &World, scheme: &str, stream: u32, body: &str) {
        let (path, authorization) = (world.send_path(), world.authorization());
        let fields = [
            (":path", path.as_str()),
            (":scheme", scheme),
            (":authority", "fcm.googleapis.com"),
            (":method", "POST"),
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        self.frame(HEADERS, END_HEADERS, stream, &block).await;
        self.frame(DATA, END_STREAM, stream, body.as_bytes()).await;
        self.0.flush().await.unwrap();
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    /// The first byte of the header block, and the body.
    async fn answer(&mut self, stream: u32) -> (u8, Value) {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            let (kind, flags, id) = (head[3], head[4], &head[5..]);
            if kind == SETTINGS && flags == 0 {
                self.frame(SETTINGS, 1, 0, &[]).await;
            }
            if id != stream.to_be_bytes() {
                continue;
            }
            match kind {
                HEADERS => status = payload[0],
                DATA => body.extend_from_slice(&payload),
                _ => {}
            }
            if flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA) {
                return (status, serde_json::from_slice(&body).unwrap_or(Value::Null));
            }
        }
    }
}

/// A literal field with incremental indexing and a new name, without Huffman coding (RFC 7541 §6.2.1):
/// Node's encoder fills the dynamic table as well.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0x40][..], &text(name), &text(value)].concat()
}

/// A string's length has a prefix of seven bits (RFC 7541 §5.1, §5.2).
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        short @ 0..127 => bytes.push(short as u8),
        long => {
            let mut rest = long - 127;
            bytes.push(127);
            while rest >= 128 {
                bytes.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
