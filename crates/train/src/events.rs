//! Event files that TensorBoard reads: scalars over the steps of a run.
//!
//! A file is a row of records: the length (8 bytes), its checksum, the payload, its checksum. A payload is a protocol
//! buffer `Event`: wall time (1), step (2), and the version of the format (3), a summary (5) with a tag and a number, or the start of a session (7).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes scalars.
#[derive(Debug)]
pub struct Events {
    file: BufWriter<File>,
}

impl Events {
    /// A new file in `folder` for what comes after step `done`; TensorBoard shows all files of a folder as one run.
    pub fn create(folder: &Path, done: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("events.out.tfevents.{:010}.{:09}.headwise", time.as_secs(), time.subsec_nanos());
        let mut events = Self { file: BufWriter::new(File::create_new(folder.join(name))?) };
        events.record(&event(0, |payload| bytes(payload, 3, b"brain.Event:2")))?;
        // The start of a session makes readers forget the steps that an earlier one did and did not save.
        events.record(&event(done + 1, |payload| bytes(payload, 7, &[1 << 3, 1])))?;
        Ok(events)
    }

    /// Adds a number of step `step` under `tag`.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f64) -> io::Result<()> {
        let mut number = Vec::new();
        bytes(&mut number, 1, tag.as_bytes());
        number.push(2 << 3 | 5);
        number.extend((value as f32).to_le_bytes());
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &number);
        self.record(&event(step, |payload| bytes(payload, 5, &summary)))
    }

    /// Brings what was added to the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn record(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = (payload.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&checksum(&length).to_le_bytes())?;
        self.file.write_all(payload)?;
        self.file.write_all(&checksum(payload).to_le_bytes())
    }
}

/// An event with its time and step.
fn event(step: u64, content: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut payload = vec![1 << 3 | 1];
    payload.extend(time.as_secs_f64().to_le_bytes());
    payload.push(2 << 3);
    variable(&mut payload, step);
    content(&mut payload);
    payload
}

/// A field of bytes.
fn bytes(payload: &mut Vec<u8>, field: u8, content: &[u8]) {
    payload.push(field << 3 | 2);
    variable(payload, content.len() as u64);
    payload.extend(content);
}

/// A number in groups of seven bits, the lowest first.
fn variable(payload: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        payload.push(number as u8 | 0x80);
        number >>= 7;
    }
    payload.push(number as u8);
}

/// CRC-32C, rotated and shifted so that a checksum of checksums is none.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a file, their checksums compared.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let count = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(rest[..4], checksum(length).to_le_bytes());
            let (payload, rest) = rest[4..].split_at(count);
            assert_eq!(rest[..4], checksum(payload).to_le_bytes());
            records.push(payload.to_vec());
            bytes = &rest[4..];
        }
        records
    }

    #[test]
    fn scalars_are_records_with_checksums() {
        // The check value of CRC-32C, masked.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path(), 0).unwrap();
        events.scalar(300, "loss", 1.5).unwrap();
        events.flush().unwrap();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let records = records(&std::fs::read(file).unwrap());
        assert_eq!(records.len(), 3);
        assert!(records[0].ends_with(b"brain.Event:2"));
        assert_eq!(records[1][9..], [0x10, 0x01, 0x3a, 0x02, 0x08, 0x01]);
        // Step 300 is 0xac 0x02; the summary holds one number of 4 + 2 + 5 bytes.
        assert_eq!(records[2][9..12], [0x10, 0xac, 0x02]);
        assert_eq!(records[2][12..], *b"\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\xc0\x3f");
    }
}
