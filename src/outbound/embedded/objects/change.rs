//! Writing and deleting objects, at once and in parts.

use rusqlite::{OptionalExtension, Transaction, params};
use s3s::crypto::{Checksum, Md5};

use super::file::{self, FileName, Whole, hexadecimal};
use super::{Attributes, Entry, Fault, ObjectStore, entry};

/// The least bytes of a part that is not the last.
const PART_BYTES_MIN: u64 = 5 << 20;

/// What must hold for an object to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::outbound::embedded) enum Condition {
    /// Whatever is there.
    Always,
    /// Nothing is there.
    Absent,
    /// Something is there.
    Present,
    /// The object there has this entity tag.
    Etag(String),
}

/// A part as the one who completes an upload names it.
#[derive(Clone, Debug)]
pub(in crate::outbound::embedded) struct PartName {
    pub(in crate::outbound::embedded) number: i64,
    pub(in crate::outbound::embedded) etag: String,
}

impl ObjectStore {
    /// Puts a whole file under `key`; answers its entity tag.
    pub(in crate::outbound::embedded) fn put(
        &self,
        bucket: &str,
        key: &str,
        whole: Whole,
        attributes: &Attributes,
        condition: &Condition,
    ) -> Result<String, Fault> {
        self.require_bucket(bucket)?;
        let new = Entry {
            id: whole.name().as_str().to_owned(),
            in_parts: false,
            size: whole.size(),
            etag: whole.etag(),
            modified: self.now(),
            attributes: attributes.clone(),
        };
        let unnamed = self.index.write(|transaction| {
            let unnamed = give_way(transaction, bucket, key, condition)?;
            insert(transaction, bucket, key, &new)?;
            Ok(unnamed)
        })?;
        whole.keep();
        file::delete(&self.files, &unnamed);
        Ok(new.etag)
    }

    /// Deletes what is under `key`. Deleting what is not there is done, but not what is not there with a tag.
    pub(in crate::outbound::embedded) fn delete(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> Result<(), Fault> {
        self.require_bucket(bucket)?;
        let unnamed = self.index.write(|transaction| {
            let is_absent = entry(transaction, bucket, key)?.is_none();
            if is_absent && *condition == Condition::Always {
                return Ok(Vec::new());
            }
            let unnamed = give_way(transaction, bucket, key, condition)?;
            transaction
                .prepare_cached("DELETE FROM objects WHERE bucket = ?1 AND key = ?2")?
                .execute(params![bucket, key.as_bytes()])?;
            Ok(unnamed)
        })?;
        file::delete(&self.files, &unnamed);
        Ok(())
    }

    /// Begins an upload in parts; answers its id.
    pub(in crate::outbound::embedded) fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        attributes: &Attributes,
    ) -> Result<String, Fault> {
        self.require_bucket(bucket)?;
        let id = self.new_id().as_str().to_owned();
        let now = self.now().as_millis();
        let attributes = serialized(attributes);
        self.index.write(|transaction| {
            transaction.execute(
                "INSERT INTO uploads (id, bucket, key, created_ms, attributes)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id, bucket, key.as_bytes(), now, attributes],
            )?;
            Ok(())
        })?;
        Ok(id)
    }

    /// Puts a whole file as a part, in place of what had its number; answers its entity tag.
    pub(in crate::outbound::embedded) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        number: i64,
        whole: Whole,
    ) -> Result<String, Fault> {
        let etag = whole.etag();
        let replaced = self.index.write(|transaction| {
            require_upload(transaction, bucket, key, upload)?;
            let replaced: Option<String> = transaction
                .prepare_cached("SELECT file FROM parts WHERE upload = ?1 AND number = ?2")?
                .query_row(params![upload, number], |row| row.get(0))
                .optional()?;
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO parts (upload, number, size, etag, file)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    upload,
                    number,
                    whole.size(),
                    etag,
                    whole.name().as_str()
                ])?;
            Ok(replaced)
        })?;
        whole.keep();
        let replaced: Vec<FileName> = replaced
            .iter()
            .map(|name| FileName::from_index(name))
            .collect();
        file::delete(&self.files, &replaced);
        Ok(etag)
    }

    /// Makes the named parts of an upload the object under its key; answers the entity tag. The bytes
    /// stay where they are. An upload that was completed before is completed again with the same answer.
    pub(in crate::outbound::embedded) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        parts: &[PartName],
        condition: &Condition,
    ) -> Result<String, Fault> {
        let modified = self.now();
        let (etag, unnamed) = self.index.write(|transaction| {
            let attributes = match require_upload(transaction, bucket, key, upload) {
                Err(Fault::NoSuchUpload) => {
                    let done = entry(transaction, bucket, key)?.filter(|done| done.id == upload);
                    return done
                        .map(|done| (done.etag, Vec::new()))
                        .ok_or(Fault::NoSuchUpload);
                }
                other => other?,
            };
            let (size, etag) = check_parts(transaction, upload, parts)?;
            let mut unnamed = give_way(transaction, bucket, key, condition)?;
            unnamed.extend(drop_other_parts(transaction, upload, parts)?);
            let new = Entry {
                id: upload.to_owned(),
                in_parts: true,
                size,
                etag,
                modified,
                attributes,
            };
            insert(transaction, bucket, key, &new)?;
            transaction.execute("DELETE FROM uploads WHERE id = ?1", [upload])?;
            Ok((new.etag, unnamed))
        })?;
        file::delete(&self.files, &unnamed);
        Ok(etag)
    }

    /// Gives an upload up with all its parts.
    pub(in crate::outbound::embedded) fn abort_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
    ) -> Result<(), Fault> {
        let unnamed = self.index.write(|transaction| {
            require_upload(transaction, bucket, key, upload)?;
            drop_upload(transaction, upload)
        })?;
        file::delete(&self.files, &unnamed);
        Ok(())
    }
}

/// Forgets an upload and its parts; answers the files that nothing names any longer.
pub(super) fn drop_upload(
    transaction: &Transaction<'_>,
    upload: &str,
) -> Result<Vec<FileName>, Fault> {
    let unnamed = drop_other_parts(transaction, upload, &[])?;
    transaction.execute("DELETE FROM uploads WHERE id = ?1", [upload])?;
    Ok(unnamed)
}

/// Checks the condition, and answers the files of the object that is there. Where they are parts, the
/// index forgets them; the row of the object itself is for the caller to replace or delete.
fn give_way(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    condition: &Condition,
) -> Result<Vec<FileName>, Fault> {
    let old = entry(transaction, bucket, key)?;
    match (condition, &old) {
        (Condition::Always, _) | (Condition::Absent, None) | (Condition::Present, Some(_)) => {}
        (Condition::Etag(wanted), Some(old)) if *wanted == old.etag => {}
        (Condition::Etag(_) | Condition::Present, None) => return Err(Fault::NoSuchKey),
        (Condition::Absent | Condition::Etag(_), Some(_)) => return Err(Fault::Precondition),
    }
    match old {
        None => Ok(Vec::new()),
        Some(old) if old.in_parts => drop_other_parts(transaction, &old.id, &[]),
        Some(old) => Ok(vec![FileName::from_index(&old.id)]),
    }
}

fn insert(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    new: &Entry,
) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO objects
             (bucket, key, id, in_parts, size, etag, modified_ms, attributes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            bucket,
            key.as_bytes(),
            new.id,
            new.in_parts,
            new.size,
            new.etag,
            new.modified.as_millis(),
            serialized(&new.attributes),
        ])?;
    Ok(())
}

fn require_upload(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    upload: &str,
) -> Result<Attributes, Fault> {
    let attributes: Option<String> = transaction
        .prepare_cached(
            "SELECT attributes FROM uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3",
        )?
        .query_row(params![upload, bucket, key.as_bytes()], |row| row.get(0))
        .optional()?;
    attributes
        .map(|text| serde_json::from_str(&text).unwrap_or_default())
        .ok_or(Fault::NoSuchUpload)
}

/// The size and the entity tag of the object that the named parts make.
fn check_parts(
    transaction: &Transaction<'_>,
    upload: &str,
    parts: &[PartName],
) -> Result<(u64, String), Fault> {
    let mut statement = transaction
        .prepare_cached("SELECT size, etag FROM parts WHERE upload = ?1 AND number = ?2")?;
    if !parts.is_sorted_by(|one, next| one.number < next.number) {
        return Err(Fault::PartOrder);
    }
    let mut size = 0;
    let mut md5 = Md5::new();
    for (position, part) in parts.iter().enumerate() {
        let held: Option<(u64, String)> = statement
            .query_row(params![upload, part.number], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (part_size, etag) = held
            .filter(|(_, etag)| *etag == part.etag)
            .ok_or(Fault::InvalidPart)?;
        if part_size < PART_BYTES_MIN && position + 1 < parts.len() {
            return Err(Fault::PartTooSmall);
        }
        size += part_size;
        md5.update(&from_hexadecimal(&etag).ok_or(Fault::Damaged)?);
    }
    if parts.is_empty() {
        return Err(Fault::InvalidPart);
    }
    let md5 = hexadecimal(md5.finalize().as_ref());
    Ok((size, format!("{md5}-{}", parts.len())))
}

fn drop_other_parts(
    transaction: &Transaction<'_>,
    upload: &str,
    kept: &[PartName],
) -> Result<Vec<FileName>, Fault> {
    let held: Vec<(i64, String)> = transaction
        .prepare_cached("SELECT number, file FROM parts WHERE upload = ?1")?
        .query_map([upload], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut unnamed = Vec::new();
    let mut statement =
        transaction.prepare_cached("DELETE FROM parts WHERE upload = ?1 AND number = ?2")?;
    for (number, file) in held {
        if kept
            .binary_search_by_key(&number, |part| part.number)
            .is_err()
        {
            statement.execute(params![upload, number])?;
            unnamed.push(FileName::from_index(&file));
        }
    }
    Ok(unnamed)
}

fn serialized(attributes: &Attributes) -> String {
    // Text and maps of text cannot fail to be written as JSON.
    serde_json::to_string(attributes).unwrap_or_else(|_| "{}".to_owned())
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
