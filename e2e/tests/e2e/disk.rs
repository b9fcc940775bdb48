//! A full disk: 503, nothing acknowledged is lost, service resumes by itself.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cresset_e2e::{Device, TestServer, World, patiently};
use http::StatusCode;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::support::{next, plain_get, saying};

/// Set for the run inside a mount namespace of its own, so that whatever happens to the test, its
/// mount goes with it.
const INSIDE: &str = "CRESSET_E2E_MOUNTS_ARE_MINE";

/// The store's journals and some memtables fit; its reserve is an eighth of it.
const VOLUME: &str = "size=256M";

#[test]
#[expect(clippy::disallowed_methods, reason = "how a test tells itself where it runs")]
fn a_full_disk_refuses_sends_loses_nothing_and_heals() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(fill_and_make_room());
    }
    if !geteuid().is_root() {
        return eprintln!("skipped: mounting a small volume needs root");
    }
    let inside = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk::a_full_disk_refuses_sends_loses_nothing_and_heals", "--nocapture"])
        .env(INSIDE, "1")
        .output();
    match inside {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("unshare failed") {
                return eprintln!("skipped: no mount namespace: {said}");
            }
            panic!("{}{said}", String::from_utf8_lossy(&output.stdout));
        }
        Err(e) => eprintln!("skipped: no unshare: {e}"),
    }
}

async fn fill_and_make_room() {
    let volume = TempDir::new().unwrap();
    mount(Some("none"), volume.path(), Some("tmpfs"), MsFlags::empty(), Some(VOLUME)).unwrap();
    let server = TestServer::start_in(Arc::new(TempDir::new_in(volume.path()).unwrap())).await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut acknowledged = Vec::new();
    send(&world, &device, 10, &mut acknowledged).await;

    let filler = volume.path().join("filler");
    occupy_all(volume.path(), &filler);
    for _ in 0..10 {
        let answer = world.send(&saying(&device, "no room")).await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert_eq!(answer.json()["error"]["status"], "UNAVAILABLE");
        assert!(answer.headers.contains_key("retry-after"));
    }
    let (status, why) = plain_get(world.running.http, "/readyz").await.unwrap();
    assert!(status == 503 && why.contains("disk is full"), "{status} {why}");
    // What needs no room still works.
    let mut connection = world.connect(&device).await.unwrap();
    for id in &acknowledged {
        assert_eq!(next(&mut connection).await.persistent_id(), id);
    }

    std::fs::remove_file(filler).unwrap();
    // Before anybody has written: who asks may send only to servers that are ready.
    assert_eq!(plain_get(world.running.http, "/readyz").await.unwrap().0, 200);
    patiently("service", resumed(&world, &device, &mut acknowledged)).await;
    send(&world, &device, 10, &mut acknowledged).await;
    let folder = server.stop().await.unwrap();
    let server = TestServer::start_in(folder).await.unwrap();
    let mut connection = server.world().await.unwrap().connect(&device).await.unwrap();
    for id in &acknowledged {
        assert_eq!(next(&mut connection).await.persistent_id(), id);
    }
}

async fn send(world: &World, device: &Device, count: usize, acknowledged: &mut Vec<String>) {
    for n in 0..count {
        acknowledged.push(world.accept(&saying(device, &n.to_string())).await.unwrap());
    }
}

/// Until a send is accepted; senders are told to try again, and do.
async fn resumed(world: &World, device: &Device, acknowledged: &mut Vec<String>) {
    loop {
        match world.accept(&saying(device, "room")).await {
            Ok(id) => return acknowledged.push(id),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// As another program on the machine would.
fn occupy_all(volume: &Path, filler: &Path) {
    let free = statvfs(volume).unwrap();
    let bytes = free.blocks_available() * free.fragment_size();
    let file = File::create(filler).unwrap();
    nix::fcntl::posix_fallocate(file, 0, i64::try_from(bytes).unwrap()).unwrap();
}
