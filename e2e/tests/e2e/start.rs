//! What keeps a server from starting is said in one line.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use cresset_e2e::{TestServer, config};
use cresset_server::Server;
use cresset_server::config::Config;
use tempfile::TempDir;

async fn reason(config: &Config) -> String {
    let Err(failure) = Server::start(config).await else { panic!("it started") };
    let reason = failure.to_string();
    assert!(!reason.contains('\n'), "{reason}");
    reason
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_way_out() {
    let taken = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = taken.local_addr().unwrap();
    let ports: [(fn(&mut Config) -> &mut SocketAddr, &str); 3] = [
        (|config| &mut config.listen.https, "--https-port"),
        (|config| &mut config.listen.http, "--http-port"),
        (|config| &mut config.listen.mcs, "--mcs-port"),
    ];
    let folder = TempDir::new().unwrap();
    for (port, flag) in ports {
        let mut config = config(folder.path());
        *port(&mut config) = address;
        let reason = reason(&config).await;
        assert!(reason.contains(&address.to_string()) && reason.contains(flag), "{reason}");
    }
    // Nothing of the failed starts is in the way of a good one.
    assert!(Server::start(&config(folder.path())).await.unwrap().stop().await);
}

#[tokio::test]
async fn a_folder_in_use_is_named_and_its_server_goes_on() {
    let first = TestServer::start().await.unwrap();
    let reason = reason(&config(first.folder().path())).await;
    assert!(reason.contains(first.folder().path().to_str().unwrap()), "{reason}");
    assert!(reason.contains("in use"), "{reason}");
    first.world().await.unwrap().device().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_left_alone() {
    let folder = TestServer::start().await.unwrap().stop().await.unwrap();
    let marker = folder.path().join("store/format");
    let format = std::fs::read_to_string(&marker).unwrap();
    let (name, _) = format.trim_end().rsplit_once(' ').unwrap();
    std::fs::write(&marker, format!("{name} 4711\n")).unwrap();
    let reason = reason(&config(folder.path())).await;
    assert!(reason.contains("newer") && reason.contains("4711"), "{reason}");
    std::fs::write(&marker, format).unwrap();
    TestServer::start_in(folder).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_named() {
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    let (missing, garbage) = (folder.path().join("missing.pem"), folder.path().join("garbage.pem"));
    std::fs::write(&garbage, "not a certificate").unwrap();
    for path in [missing, garbage] {
        config.tls.certificate = Some(path.clone());
        config.tls.key = Some(path.clone());
        let reason = reason(&config).await;
        assert!(reason.contains("certificate") && reason.contains(path.to_str().unwrap()), "{reason}");
    }
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let reason = reason(&config(&file.join("data"))).await;
    assert!(reason.contains(file.to_str().unwrap()), "{reason}");
}
