//! Files of bytes: written once under a fresh name, read in pieces.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use s3s::crypto::{Checksum, Md5};
use ulid::Ulid;

/// A file's name: a ULID. Files lie in folders by its last character, 32 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::outbound::embedded) struct FileName(String);

impl FileName {
    pub(super) fn new(id: Ulid) -> Self {
        Self(id.to_string())
    }

    pub(super) fn from_index(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn path(&self, root: &Path) -> PathBuf {
        let shard = self.0.len().saturating_sub(1);
        root.join(self.0.get(shard..).unwrap_or("0")).join(&self.0)
    }
}

/// A file that bytes come into.
pub(in crate::outbound::embedded) struct Incoming {
    name: FileName,
    path: PathBuf,
    file: File,
    size: u64,
    md5: Md5,
    kept: bool,
}

impl Incoming {
    pub(super) fn create(root: &Path, name: FileName) -> io::Result<Self> {
        let path = name.path(root);
        let file = match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                File::create_new(&path)
            }
            other => other,
        }?;
        Ok(Self {
            name,
            path,
            file,
            size: 0,
            md5: Md5::new(),
            kept: false,
        })
    }

    /// Appends `bytes`.
    pub(in crate::outbound::embedded) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes have come in.
    pub(in crate::outbound::embedded) fn size(&self) -> u64 {
        self.size
    }

    /// Ends the file: its name, its size and its MD5. It is deleted unless [`Whole::keep`] is called.
    pub(in crate::outbound::embedded) fn end(mut self) -> Whole {
        let md5 = std::mem::replace(&mut self.md5, Md5::new()).finalize();
        Whole {
            md5: md5.as_ref().to_vec(),
            incoming: self,
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be deleted now is swept later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that has all its bytes and that the index does not name yet.
pub(in crate::outbound::embedded) struct Whole {
    incoming: Incoming,
    md5: Vec<u8>,
}

impl Whole {
    pub(super) fn name(&self) -> &FileName {
        &self.incoming.name
    }

    pub(super) fn size(&self) -> u64 {
        self.incoming.size
    }

    /// The MD5 of the bytes.
    pub(in crate::outbound::embedded) fn md5(&self) -> &[u8] {
        &self.md5
    }

    /// The MD5 in hexadecimal, which is the entity tag of what was sent at once.
    pub(super) fn etag(&self) -> String {
        hexadecimal(&self.md5)
    }

    /// From now on the index names it.
    pub(super) fn keep(mut self) {
        self.incoming.kept = true;
    }
}

/// A stretch of an open file that is still to be read.
#[derive(Debug)]
pub(in crate::outbound::embedded) struct Piece {
    file: File,
    left: u64,
}

impl Piece {
    /// The next bytes, at most `most`; none at the end of the piece. It blocks.
    pub(in crate::outbound::embedded) fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let length = usize::try_from(self.left).map_or(most, |left| left.min(most));
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes)?;
        self.left -= length as u64;
        Ok(Some(bytes.into()))
    }
}

/// Opens what of `files` lies within `range` of their bytes together. All of them are open afterwards,
/// so that nobody can delete one under the reader. `UnexpectedEof` where a file is shorter or longer
/// than it should be.
pub(super) fn open(
    root: &Path,
    files: &[(FileName, u64)],
    range: &Range<u64>,
) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (name, size) in files {
        let end = start + size;
        let (first, last) = (range.start.max(start), range.end.min(end));
        if first < last {
            let mut file = File::open(name.path(root))?;
            if file.metadata()?.len() != *size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if first > start {
                file.seek(SeekFrom::Start(first - start))?;
            }
            pieces.push(Piece {
                file,
                left: last - first,
            });
        }
        start = end;
    }
    Ok(pieces)
}

/// Deletes files that the index no longer names. What cannot be deleted now is swept later.
pub(super) fn delete(root: &Path, files: &[FileName]) {
    for name in files {
        let _ = fs::remove_file(name.path(root));
    }
}

/// `bytes` in lower-case hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
