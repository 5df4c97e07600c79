//! A text with all that its cache holds, kept in a file, to be gone on with later bit for bit.
//!
//! The file is a safetensors file: a tensor of bytes for every layer (pairs as they are coded, statistics, what a policy remembers, positions), and in
//! the metadata the policy, the number of tokens, what the program that wrote it has to remember, a checksum of the model and one of
//! everything. It belongs to one model and one policy; a file of others, or one that was cut short or changed, is refused, and nothing of
//! it is used. A session goes on with the same bits on processors with the same vector instructions.

mod error;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

pub use self::error::SessionError;
use crate::cache::CachePolicy;
use crate::heads::key_of_files;
use crate::{Chunk, Engine, Sequence, Wanted};

/// What every file names as its format.
const FORMAT: &str = "headwise session 1";

/// A text that can be put away.
#[derive(Clone, Debug)]
pub struct Session {
    /// The text, as far as the model has read it.
    pub sequence: Sequence,
    /// Tokens that were written last and have not been read yet; the next prompt begins with them.
    pub unread: Vec<u32>,
    /// What the program has to remember: any text.
    pub note: String,
}

impl Session {
    /// Writes the session to `path`; a file that is there is replaced once the new one is whole.
    pub fn save(&self, engine: &Engine, path: &Path) -> Result<(), SessionError> {
        let bytes = self.to_bytes(engine)?;
        let failed = |source| SessionError::File { path: path.into(), source };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written.map_err(failed)
    }

    /// Reads the session at `path`, which must be of this model and, if one is named, of `policy`.
    pub fn load(engine: &Engine, path: &Path, policy: Option<&CachePolicy>) -> Result<Self, SessionError> {
        let bytes = fs::read(path).map_err(|source| SessionError::File { path: path.into(), source })?;
        Self::from_bytes(engine, &bytes, policy)
    }

    /// The session as a file.
    pub fn to_bytes(&self, engine: &Engine) -> Result<Vec<u8>, SessionError> {
        let Sequence { policy, layers, tokens, prompt_ended, peak_bytes, set, recent: _, chosen: _, adapter } =
            &self.sequence;
        if set.is_some() {
            return Err(SessionError::Segments);
        }
        if adapter.is_some() {
            return Err(SessionError::Adapter);
        }
        let layers: Vec<(String, Vec<u8>)> = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| {
                let mut bytes = Vec::new();
                layer.save(&mut bytes);
                (name(index), bytes)
            })
            .collect();
        let unread: Vec<String> = self.unread.iter().map(u32::to_string).collect();
        let mut about: BTreeMap<String, String> = [
            ("format", FORMAT.to_owned()),
            ("model", engine.checksum()?),
            ("policy", policy.to_string()),
            ("tokens", tokens.to_string()),
            ("prompt_ended", prompt_ended.to_string()),
            ("peak_bytes", peak_bytes.to_string()),
            ("unread", unread.join(" ")),
            ("note", self.note.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let checksum = checksum(&about, layers.iter().map(|(_, bytes)| &bytes[..]));
        about.insert("checksum".into(), checksum);
        let wrong = |error: safetensors::SafeTensorError| SessionError::Format(error.to_string());
        let views = layers
            .iter()
            .map(|(name, bytes)| TensorView::new(Dtype::U8, vec![bytes.len()], bytes).map(|view| (name, view)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        safetensors::serialize(views, Some(about.into_iter().collect())).map_err(wrong)
    }

    /// The session in the file `bytes`.
    pub fn from_bytes(engine: &Engine, bytes: &[u8], policy: Option<&CachePolicy>) -> Result<Self, SessionError> {
        let wrong = |what: &str| SessionError::Format(what.to_owned());
        let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(&error.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| wrong(&error.to_string()))?;
        let mut about: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let noted = about.remove("checksum");
        let field = |key: &str| about.get(key).map(String::as_str).ok_or_else(|| wrong(&format!("`{key}` is missing")));
        if field("format")? != FORMAT {
            return Err(wrong(&format!("`{}` is not `{FORMAT}`", field("format")?)));
        }
        let layers: Vec<&[u8]> = (0..file.len())
            .map(|index| file.tensor(&name(index)).map(|tensor| tensor.data()))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&error.to_string()))?;
        if noted != Some(checksum(&about, layers.iter().copied())) {
            return Err(SessionError::Checksum);
        }
        let (model, session) = (engine.checksum()?, field("model")?);
        if model != session {
            let short = |checksum: &str| checksum.chars().take(12).collect();
            return Err(SessionError::Model { session: short(session), model: short(&model) });
        }
        let made_with = field("policy")?;
        if let Some(asked) = policy.map(CachePolicy::to_string).filter(|asked| asked != made_with) {
            return Err(SessionError::Policy { session: made_with.to_owned(), asked });
        }
        let number = |key: &str| field(key)?.parse().map_err(|_| wrong(&format!("`{key}` is no number")));
        let mut sequence = engine.sequence(&CachePolicy::parse(made_with)?)?;
        sequence.tokens = number("tokens")?;
        sequence.peak_bytes = number("peak_bytes")?;
        sequence.prompt_ended = field("prompt_ended")? == "true";
        sequence.fill(engine, &layers)?;
        let unread = field("unread")?.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let unread = unread.map_err(|_| wrong("`unread` are no tokens"))?;
        Ok(Self { sequence, unread, note: field("note")?.to_owned() })
    }
}

impl Sequence {
    /// Takes over what the `layers` of a session hold.
    fn fill(&mut self, engine: &Engine, layers: &[&[u8]]) -> Result<(), SessionError> {
        let wrong = |what: String| SessionError::Format(what);
        if layers.len() != self.layers.len() {
            return Err(wrong(format!("it has {} layers, the model {}", layers.len(), self.layers.len())));
        }
        // How layers attend is the model's to say; they are told in a forward.
        let mut told = engine.sequence(&CachePolicy::full())?;
        let first = Chunk { sequence: &mut told, ids: &[0], prompt_ends: false, wanted: Wanted::Nothing };
        engine.forward(&mut [first])?;
        for (index, (bytes, layer)) in layers.iter().zip(&mut self.layers).enumerate() {
            let mut rest = *bytes;
            let loaded = layer.load(&mut rest, self.tokens);
            if loaded.is_none() || !rest.is_empty() {
                return Err(wrong(format!("layer {index} does not hold what its policy keeps")));
            }
            if self.tokens > 0 {
                layer.attend_as(&told.layers[index]);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// A checksum of the model: of its files, or, if it was not made from files, of what it is and what it says after one token.
    fn checksum(&self) -> Result<String, SessionError> {
        if let Some(files) = &self.files {
            return key_of_files(files, &[]).map_err(|source| SessionError::File { path: files.clone(), source });
        }
        let mut sequence = self.sequence(&CachePolicy::full())?;
        let logits = self.step(&mut sequence, 0)?;
        let mut hasher = Sha256::new();
        hasher.update(format!("{:?}", self.spec()));
        logits.values.iter().for_each(|score| hasher.update(score.to_le_bytes()));
        Ok(hexadecimal(hasher))
    }
}

/// The tensor of layer `index`.
fn name(index: usize) -> String {
    format!("layer.{index}")
}

/// A checksum of everything in a file but itself.
fn checksum<'a>(about: &'a BTreeMap<String, String>, layers: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    let texts = about.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
    for part in texts.chain(layers) {
        // With its length, so that nothing moves from one part to the next.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hexadecimal(hasher)
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
