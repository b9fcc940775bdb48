//! The data folder: one process, versions that we read, beginnings that were cut short.

use std::fs;

use cresset_store::embedded::{EmbeddedEngine, OpenError};

use crate::support::{NOW, modest, open, put, value, write};

fn refusal(path: &std::path::Path) -> OpenError {
    EmbeddedEngine::open(path, modest()).err().expect("it should not open")
}

#[tokio::test]
async fn a_folder_in_use_is_refused_until_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::InUse(_)));
    assert_eq!(error.to_string(), format!("{} is in use by another process", folder.path().display()));
    drop(store);
    open(folder.path());
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("format"), "cresset-store 2\n").unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::NewerVersion { found: 2, .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
    assert!(!folder.path().join("rows").exists());
}

#[test]
fn a_marker_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["", "cresset-store", "cresset-store x", "another 1"] {
        fs::write(folder.path().join("format"), text).unwrap();
        assert!(matches!(refusal(folder.path()), OpenError::Unknown(_)), "{text:?}");
    }
}

/// A kill while the folder was first made leaves a half of a database under its first name.
#[tokio::test]
async fn a_beginning_that_was_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("rows.new")).unwrap();
    fs::write(folder.path().join("rows.new/0.jnl"), "half").unwrap();
    let store = open(folder.path());
    write(&store, put("p", "a", "v")).await;
    assert!(!folder.path().join("rows.new").exists());
    drop(store);
    // Killed after the database stood, before the marker did.
    fs::remove_file(folder.path().join("format")).unwrap();
    assert_eq!(value(&open(folder.path()), "p", "a", NOW).await.as_deref(), Some("v"));
    assert_eq!(fs::read_to_string(folder.path().join("format")).unwrap(), "cresset-store 1\n");
}

#[test]
fn a_path_that_is_a_file_is_an_error_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Io { .. }));
    assert!(!error.to_string().contains('\n'));
}
