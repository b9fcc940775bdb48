//! Through an HTTP proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use cresset_outbound::webpush::{Client, Config};
use cresset_outbound::{Proxy, Scope};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::fakes::Style;
use crate::world::{Names, Web, is_later, patiently, randomness, reason, short};

/// Answers one CONNECT; with a target it is a tunnel to it. Gives what was asked.
async fn proxy(
    answer: &'static str,
    target: Option<SocketAddr>,
) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (client, _) = socket.accept().await.unwrap();
        let mut client = BufReader::new(client);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            client.read_line(&mut head).await.unwrap();
        }
        client.write_all(answer.as_bytes()).await.unwrap();
        if let Some(target) = target {
            let mut service = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut client, &mut service).await) });
        }
        head
    });
    (address, asked)
}

fn client(web: &Web, proxy: SocketAddr) -> Client {
    // The service's own name is the proxy's to resolve.
    let names = Names([("proxy.test".to_owned(), proxy)].into());
    let mut config = Config::new(web.service.authority().roots().unwrap());
    let authorization = Some("Basic dTpw".to_owned());
    config.proxy = Some(Proxy { host: "proxy.test".into(), port: proxy.port(), authorization });
    Client::new(config, Arc::new(names), randomness()).unwrap()
}

#[tokio::test]
async fn a_proxy_makes_the_connection() {
    let web = Web::of(Style::Google).await;
    let (address, asked) =
        proxy("HTTP/1.1 200 Connection established\r\n\r\n", Some(web.service.address())).await;
    let push = web.push(&web.subscribe(), "x");
    let outcome = patiently("an outcome", client(&web, address).send(&push, web.time.now())).await;
    assert_eq!(short(&outcome), "accepted", "{outcome:?}");
    let port = web.service.address().port();
    let target = format!("fcm.googleapis.com:{port}");
    let expected =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
    assert_eq!(asked.await.unwrap(), expected);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_of() {
    let web = Web::of(Style::Google).await;
    let push = web.push(&web.subscribe(), "x");
    let (address, _asked) = proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", None).await;
    let outcome = patiently("an outcome", client(&web, address).send(&push, web.time.now())).await;
    assert!(is_later(&outcome, Scope::Origin), "{outcome:?}");
    assert_eq!(reason(&outcome), "the proxy refuses: HTTP/1.1 407 Proxy Authentication Required");
    let endless: &'static str = Box::leak("x".repeat(10_000).into_boxed_str());
    let (address, _asked) = proxy(endless, None).await;
    let outcome = patiently("an outcome", client(&web, address).send(&push, web.time.now())).await;
    assert_eq!(reason(&outcome), "the proxy refuses: its answer is too long");
}
