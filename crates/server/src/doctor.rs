//! `cresset doctor`: from inside the world of `cresset exec`, does each name resolve to us, answer,
//! and is it trusted? And does the project's service account get a token?

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::data::DataFolder;
use crate::failure::Failure;
use crate::{clock, exec, names, output, service_account};

/// For each step of each check.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(args: &crate::cli::Doctor) -> Result<(), Failure> {
    if args.names {
        output::print(&names::all().map(|name| format!("{name}\n")).collect::<String>());
        return Ok(());
    }
    if let Some(address) = args.inside {
        return inside(address);
    }
    let folder = DataFolder::open(&args.data.folder)?;
    let running = folder.must_run()?;
    let xmpp = running.xmpp.map_or_else(|| "not served".to_owned(), |address| address.to_string());
    println!(
        "Cresset runs as process {}: HTTPS {}, HTTP {}, MCS {}, XMPP {xmpp}.",
        running.pid, running.https, running.http, running.mcs
    );
    let Some(address) = running.exec else {
        println!("✗ `cresset exec` has nowhere to lead to.\n");
        return Err(Failure::new(format!(
            "{}\n{}",
            running.exec_refused.clone().unwrap_or_else(|| "listen.exec is empty".into()),
            exec::by_hand(&folder, &running)
        )));
    };
    let this =
        std::env::current_exe().map_err(|e| Failure::new(format!("this program cannot be found: {e}")))?;
    let command: Vec<OsString> =
        vec![this.into(), "doctor".into(), "--inside".into(), address.to_string().into()];
    Err(exec::exec(&folder, &args.project, &command))
}

fn inside(address: IpAddr) -> Result<(), Failure> {
    let tls = client_config()?;
    let mut bad = 0;
    let ports = names::HTTPS.map(|name| (name, 443)).into_iter().chain(names::MCS.map(|name| (name, 5228)));
    for (name, port) in ports {
        match check(name, port, address, &tls) {
            Ok(()) => println!("✓ {name}:{port} leads here, answers and is trusted"),
            Err(problem) => {
                bad += 1;
                println!("✗ {name}:{port} {problem}");
            }
        }
    }
    match account(&tls) {
        Ok(email) => println!("✓ {email} gets an access token"),
        Err(problem) => {
            bad += 1;
            println!("✗ the service account {problem}");
        }
    }
    if bad > 0 {
        return Err(Failure::new(format!("{bad} checks failed")));
    }
    println!("All is well: a program under `cresset exec` reaches Cresset.");
    Ok(())
}

fn check(name: &str, port: u16, address: IpAddr, tls: &Arc<ClientConfig>) -> Result<(), String> {
    let mut stream = connect(name, port, address, tls)?;
    if port != 443 {
        return stream.flush().map_err(|e| not_trusted(&e));
    }
    let answer =
        request(&mut stream, &format!("GET /cresset HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"))?;
    if answer.starts_with("HTTP/1.1 404") {
        Ok(())
    } else {
        Err(format!("answers {:?}, which is not Cresset", answer.lines().next()))
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(name: &str, port: u16, address: IpAddr, tls: &Arc<ClientConfig>) -> Result<Tls, String> {
    let addresses = (name, port).to_socket_addrs();
    let addresses: Vec<_> = addresses
        .map_err(|e| {
            format!("does not resolve ({e}): is /etc/hosts read? See the `hosts` line of /etc/nsswitch.conf")
        })?
        .collect();
    let ours = addresses.iter().find(|a| a.ip() == address).ok_or_else(|| {
        format!(
            "resolves to {:?} instead of {address}: another resolver comes before /etc/hosts",
            addresses.first().map(|a| a.ip())
        )
    })?;
    let stream = TcpStream::connect_timeout(ours, PATIENCE).map_err(|e| format!("does not answer: {e}"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(|e| e.to_string())?;
    let server_name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    let connection = ClientConnection::new(tls.clone(), server_name).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|e| not_trusted(&e))?;
    }
    Ok(stream)
}

fn not_trusted(e: &std::io::Error) -> String {
    format!("is not trusted, or the handshake failed: {e}")
}

fn request(stream: &mut Tls, text: &str) -> Result<String, String> {
    stream.write_all(text.as_bytes()).map_err(|e| not_trusted(&e))?;
    let mut answer = Vec::new();
    // A server may close without the TLS farewell; what came until then is the answer.
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(e) => return Err(format!("does not answer: {e}")),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Trusts what programs under `exec` are told to trust.
fn client_config() -> Result<Arc<ClientConfig>, Failure> {
    let path = environment("SSL_CERT_FILE")?;
    let certificates = CertificateDer::pem_file_iter(&path)
        .map_err(|e| Failure::new(format!("cannot read {path}: {e}")))?
        .filter_map(Result::ok);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[expect(clippy::disallowed_methods, reason = "doctor checks what exec put into the environment")]
fn environment(name: &str) -> Result<String, Failure> {
    std::env::var(name)
        .map_err(|_| Failure::new(format!("{name} is not set: run `cresset doctor` without --inside")))
}

/// What an SDK does first: the JWT bearer grant (`protocol/oauth.md` §2).
fn account(tls: &Arc<ClientConfig>) -> Result<String, String> {
    let path = environment("GOOGLE_APPLICATION_CREDENTIALS").map_err(|e| e.to_string())?;
    let text = std::fs::read(&path).map_err(|e| format!("cannot be read from {path}: {e}"))?;
    let file: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| format!("in {path} is not JSON: {e}"))?;
    let assertion = service_account::assertion(&file, clock::now())?;
    let body = service_account::grant_form(&assertion);
    let name = "oauth2.googleapis.com";
    let address =
        (name, 443).to_socket_addrs().ok().and_then(|mut a| a.next()).ok_or("finds no token endpoint")?;
    let mut stream = connect(name, 443, address.ip(), tls)?;
    let answer = request(
        &mut stream,
        &format!(
            "POST /token HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
    )?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(file["client_email"].as_str().unwrap_or_default().to_owned());
    }
    let reason = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Err(format!("gets no access token: {reason}"))
}
