//! What a user may write for a model: a known name, or a file of the hub.

use super::Result;
use super::error::PullError;
use super::known::{HubFile, KnownModel, known};

/// A model that was asked for.
#[derive(Clone, Debug)]
pub(super) enum Reference {
    /// By a name of the table.
    Known(KnownModel),
    /// By its place on the hub.
    Hub(HubFile),
}

impl Reference {
    /// Reads a known name or alias (in any case), `hub:org/repo:file` or `org/repo/file.gguf`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if let Some(place) = text.strip_prefix("hub:") {
            let (repository, file) =
                place.split_once(':').ok_or_else(|| invalid(text, "there is no \":\" between repository and file"))?;
            return hub_file(text, repository, file);
        }
        let lower = text.to_lowercase();
        let named = |model: &&KnownModel| model.name == lower || model.aliases.contains(&lower.as_str());
        if let Some(model) = known().iter().find(named) {
            return Ok(Reference::Known(*model));
        }
        if !text.starts_with(['/', '.', '~']) && text.ends_with(".gguf") {
            let mut slashes = text.match_indices('/');
            if let Some((at, _)) = slashes.nth(1) {
                return hub_file(text, &text[..at], &text[at + 1..]);
            }
        }
        Err(unknown(text))
    }

    /// The name to type for it.
    pub(super) fn name(&self) -> String {
        match self {
            Reference::Known(model) => model.name.to_string(),
            Reference::Hub(file) if file.file.ends_with(".gguf") => file.to_string(),
            Reference::Hub(file) => format!("hub:{}:{}", file.repository, file.file),
        }
    }

    /// Its row of the table.
    pub(super) fn known(&self) -> Option<&KnownModel> {
        match self {
            Reference::Known(model) => Some(model),
            Reference::Hub(_) => None,
        }
    }

    /// Its place on the hub.
    pub(super) fn hub_file(&self) -> HubFile {
        match self {
            Reference::Known(model) => HubFile {
                repository: model.hub.repository.to_string(),
                revision: model.hub.revision.to_string(),
                file: model.hub.file.to_string(),
            },
            Reference::Hub(file) => file.clone(),
        }
    }
}

/// A hub file whose parts are plain names: they become parts of a URL and of a path in the cache directory.
fn hub_file(text: &str, repository: &str, file: &str) -> Result<Reference> {
    if repository.split('/').count() != 2 {
        return Err(invalid(text, "the repository is not organisation/repository"));
    }
    for part in repository.split('/').chain(file.split('/')) {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
        if part.is_empty() || part.starts_with('.') || !plain {
            return Err(invalid(
                text,
                &format!("\"{part}\" is not a plain name (letters, digits, \"-\", \"_\", \"+\", \".\")"),
            ));
        }
    }
    Ok(Reference::Hub(HubFile { repository: repository.into(), revision: "main".into(), file: file.into() }))
}

fn invalid(reference: &str, reason: &str) -> PullError {
    PullError::InvalidReference { reference: reference.into(), reason: reason.into() }
}

fn unknown(name: &str) -> PullError {
    let words = || known().iter().flat_map(|model| std::iter::once(&model.name).chain(model.aliases));
    let nearest = words()
        .map(|word| (strsim::damerau_levenshtein(&name.to_lowercase(), word), word))
        .min()
        .filter(|(distance, word)| *distance <= word.len() / 3)
        .map(|(_, word)| word.to_string());
    let known = known().iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
    PullError::Unknown { name: name.into(), nearest, known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_aliases_and_hub_files_are_read() {
        for name in ["smollm2-135m", "SmolLM2", "smollm2-135m-instruct"] {
            assert_eq!(Reference::parse(name).unwrap().name(), "smollm2-135m");
        }
        for (text, name) in [
            ("org/repo/a.gguf", "org/repo/a.gguf"),
            ("org/repo/folder/a.gguf", "org/repo/folder/a.gguf"),
            ("hub:org/repo:a.gguf", "org/repo/a.gguf"),
            ("hub:org/repo:folder/config.json", "hub:org/repo:folder/config.json"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert!(reference.known().is_none());
            assert_eq!(reference.name(), name);
            assert_eq!(reference.hub_file().repository, "org/repo");
        }
    }

    #[test]
    fn parts_that_could_leave_the_cache_directory_are_refused() {
        for text in [
            "hub:org/repo:../../etc/passwd",
            "hub:../repo:a.gguf",
            "hub:org/repo:/a.gguf",
            "hub:org/repo:a\\b.gguf",
            "hub:org:a.gguf",
            "hub:org/repo",
            "org/repo/../a.gguf",
            "org//a.gguf",
        ] {
            assert!(matches!(Reference::parse(text), Err(PullError::InvalidReference { .. })), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones_and_the_nearest() {
        let message = Reference::parse("smolm2-135").unwrap_err().to_string();
        assert!(message.contains("did you mean \"smollm2-135m\""), "{message}");
        assert!(message.contains("gemma3-270m"), "{message}");
        let message = Reference::parse("/no/such/file.gguf").unwrap_err().to_string();
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn the_table_is_consistent() {
        let mut names = std::collections::HashSet::new();
        for model in known() {
            for name in std::iter::once(&model.name).chain(model.aliases) {
                assert!(names.insert(name), "{name} is there twice");
            }
            assert_eq!(model.sha256.len(), 64, "{}", model.name);
            assert!(model.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{}", model.name);
            if !model.package.is_empty() {
                assert_eq!(model.package.iter().map(|part| part.bytes).sum::<u64>(), model.bytes, "{}", model.name);
            }
        }
    }
}
