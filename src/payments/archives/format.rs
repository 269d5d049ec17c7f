//! The file of an archive: lines of JSON, compressed by gzip.
//!
//! A header, the transfers in the order of their ids, the accounts that they touched in the order
//! of theirs, and an end with the counts. Each line is an object with one field, which says what it
//! is. It can be read without this program.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use uuid::Uuid;

/// The name of the format, with its version.
pub const FORMAT: &str = "surety-ledger-archive/1";

/// The most transfers of an archive, whose files are held in memory when they are checked. A little
/// more than may be asked for, as those of one date stay together.
pub const MAX_TRANSFERS: u32 = 1_100_000;

/// No line is longer; one that is, is none that was written here.
const MAX_LINE: u64 = 4 * 1024;
/// No file has more bytes, before compression: a line takes 400 or so.
const MAX_BYTES: u64 = MAX_TRANSFERS as u64 * 1024;

/// A line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    Header(Header),
    /// A transfer.
    Transfer(ArchivedTransfer),
    /// An account.
    Account(ArchivedAccount),
    /// The last one.
    End(End),
}

/// The archive that the file holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The database that it was made from.
    pub database: String,
    /// Its number there, from 1.
    pub number: i32,
    /// Its transfers are dated before this.
    #[serde(with = "time::serde::rfc3339")]
    pub dated_before: OffsetDateTime,
    /// The moment at which it was made, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    /// The SHA-256 of the file before, as hexadecimal digits; null for the first.
    pub previous_sha256: Option<String>,
}

/// A transfer with its two entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedTransfer {
    /// The id.
    pub id: Uuid,
    /// The number of the transaction that it settled, and the provider's id of that; null where it
    /// settled none.
    pub transaction: Option<i64>,
    /// See `transaction`.
    pub transaction_id: Option<String>,
    /// The amount that moved.
    #[serde(with = "rust_decimal::serde::str")]
    pub amount: Decimal,
    /// Its currency.
    pub currency: String,
    /// The date.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The side that the money left.
    pub source: ArchivedEntry,
    /// The side at which it arrived.
    pub destination: ArchivedEntry,
}

/// One side of a transfer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedEntry {
    /// The account.
    pub account: Uuid,
    /// The number of the entry among those of the account, from 1.
    pub version: i64,
    /// The balance of the account after it.
    #[serde(with = "rust_decimal::serde::str")]
    pub balance_after: Decimal,
}

/// An account, as it was before its entries of this archive and after them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArchivedAccount {
    /// The account.
    pub id: Uuid,
    /// The provider's name of it.
    pub name: String,
    /// Its currency.
    pub currency: String,
    /// The state in which the archive before left it.
    pub opening: CarriedForward,
    /// The state in which this archive leaves it.
    pub closing: CarriedForward,
}

/// The state of an account after one of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CarriedForward {
    /// The number of the entry; 0 before the first.
    pub version: i64,
    /// The balance after it.
    #[serde(with = "rust_decimal::serde::str")]
    pub balance: Decimal,
}

/// The numbers of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// Of transfers.
    pub transfers: u64,
    /// Of accounts.
    pub accounts: u64,
}

/// A file that is being written, under a name of its own that nobody takes for an archive. It is
/// removed unless it is finished.
#[derive(Debug)]
pub struct FileWriter {
    folder: PathBuf,
    out: GzEncoder<Hashing>,
}

/// A whole file, on disk.
#[derive(Clone, Debug)]
pub struct WrittenFile {
    /// Its path.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl FileWriter {
    /// Begins a file in this folder, for the owner alone to read: it says who paid whom.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        let file =
            tempfile::Builder::new().prefix(".ledger-").suffix(".part").tempfile_in(folder)?;
        let hashing = Hashing { file: BufWriter::new(file), hasher: Sha256::new() };
        let out = GzEncoder::new(hashing, Compression::default());
        Ok(Self { folder: folder.to_owned(), out })
    }

    /// Adds a line.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Ends the file and gives it its name, which tells its number, its end and its hash: no other
    /// content has it. All of it is on disk then.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or there is a file of this name.
    pub fn finish(self, header: &Header) -> io::Result<WrittenFile> {
        let Hashing { file, hasher } = self.out.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        let sha256: [u8; 32] = hasher.finalize().into();
        let (number, day) = (header.number, header.dated_before.date());
        let name = format!("ledger-{number:06}-{day}-{}.jsonl.gz", hex::encode(&sha256[..6]));
        let path = self.folder.join(&name);
        file.persist_noclobber(&path)?;
        // The name, too.
        File::open(&self.folder)?.sync_all()?;
        Ok(WrittenFile { path, name, sha256 })
    }
}

/// Hashes what goes to the file.
#[derive(Debug)]
struct Hashing {
    file: BufWriter<NamedTempFile>,
    hasher: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The lines of a file, one after another.
#[derive(Debug)]
pub struct FileReader {
    lines: io::Take<BufReader<GzDecoder<BufReader<HashedFile>>>>,
}

impl FileReader {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = HashedFile { file: File::open(path)?, hasher: Sha256::new() };
        let decoder = GzDecoder::new(BufReader::new(file));
        Ok(Self { lines: BufReader::new(decoder).take(MAX_BYTES) })
    }

    /// The next line; none at the end of the file.
    ///
    /// # Errors
    ///
    /// When it is no line of this format, or the file is damaged.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&text)?))
    }

    /// The SHA-256 of the file's bytes, once all lines were read; none if there is more behind what
    /// the lines are in, or so much that not all was read.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn finish(self) -> io::Result<Option<[u8; 32]>> {
        if self.lines.limit() == 0 {
            return Ok(None);
        }
        let mut rest = self.lines.into_inner().into_inner().into_inner();
        let is_whole = rest.fill_buf()?.is_empty();
        Ok(is_whole.then(|| rest.into_inner().hasher.finalize().into()))
    }
}

/// Hashes what is read from a file.
#[derive(Debug)]
struct HashedFile {
    file: File,
    hasher: Sha256,
}

impl Read for HashedFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
