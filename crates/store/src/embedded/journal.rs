//! What must happen between a failed write and the next opening.
//!
//! After a failed fsync the kernel may call pages clean that never reached the disk. Recovery would
//! read them from memory, find every batch whole, and append behind them; a power cut would then
//! leave a hole, and everything acknowledged after the hole would be out of reach. So the journal is
//! first written anew: what recovery then reads is what the disk holds.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::folder::sync_folder;

/// The active journal, and the one before it, which is active still when making the next one failed.
const IN_DOUBT: usize = 2;

const BLOCK: usize = 1 << 20;

/// Writes the journals in doubt anew. `folder` is on the same volume and takes the draft. Safe to
/// repeat, and to be interrupted anywhere.
pub(super) fn settle(folder: &Path, rows: &Path) -> io::Result<()> {
    let draft = folder.join("journal.new");
    for journal in newest_journals(rows)? {
        let written = rewrite(&journal, &draft);
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
    }
    sync_folder(rows)
}

/// What [`settle`] needs on the disk for a while: the larger of the journals in doubt, and some slack.
pub(super) fn room_to_settle(rows: &Path) -> io::Result<u64> {
    /// A unit of `st_blocks` (stat(2)), whatever the file system's block size is.
    const STAT_BLOCK: u64 = 512;
    let mut largest = 0;
    for journal in newest_journals(rows)? {
        largest = largest.max(journal.metadata()?.blocks() * STAT_BLOCK);
    }
    Ok(largest + 4 * BLOCK as u64)
}

fn newest_journals(rows: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(rows)? {
        let path = entry?.path();
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|end| end.to_str())) {
            journals.push((number, path));
        }
    }
    journals.sort_unstable();
    Ok(journals.into_iter().rev().take(IN_DOUBT).map(|(_, path)| path).collect())
}

/// Copies by hand: `std::io::copy` may share the blocks in doubt instead of writing new ones.
/// The unused end of a journal is a hole and stays one.
fn rewrite(journal: &Path, draft: &Path) -> io::Result<()> {
    let mut from = File::open(journal)?;
    let mut to = File::create(draft)?;
    let mut block = vec![0; BLOCK];
    loop {
        let length = from.read(&mut block)?;
        match &block[..length] {
            [] => break,
            zeros if zeros.iter().all(|byte| *byte == 0) => drop(to.seek(SeekFrom::Current(length as i64))?),
            bytes => to.write_all(bytes)?,
        }
    }
    to.set_len(from.metadata()?.len())?;
    to.sync_all()?;
    fs::rename(draft, journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_the_newest_journals_byte_by_byte() {
        let folder = tempfile::tempdir().unwrap();
        let rows = folder.path().join("rows");
        fs::create_dir(&rows).unwrap();
        let journal = [vec![7; BLOCK + 3], vec![0; 2 * BLOCK], vec![9; 5], vec![0; 3 * BLOCK]].concat();
        for name in ["1.jnl", "9.jnl", "10.jnl"] {
            fs::write(rows.join(name), &journal).unwrap();
        }
        settle(folder.path(), &rows).unwrap();
        assert_eq!(newest_journals(&rows).unwrap(), [rows.join("10.jnl"), rows.join("9.jnl")]);
        assert_eq!(fs::read(rows.join("10.jnl")).unwrap(), journal);
        assert!(!folder.path().join("journal.new").exists());
    }
}
