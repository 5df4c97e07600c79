//! How text is split before byte-level BPE: the patterns behind each value of `tokenizer.ggml.pre`.
//!
//! The patterns of a row are applied one after the other; a piece is what a pattern matched, or what lies between two
//! matches. They are those of the models' own `tokenizer.json`, with contractions spelled out instead of matched in any
//! case: the Unicode rules would also take the long s of `'ſ`, which llama.cpp does not. Every row is compared with
//! llama.cpp by `oracles/tokenizer.py`.

use super::error::TokenizerError;

/// One way to split text.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The values of `tokenizer.ggml.pre` that mean it.
    pub(super) names: &'static [&'static str],
    /// Regular expressions, in the order of their application.
    pub(super) patterns: &'static [&'static str],
    /// A piece that is a token is that token, whether or not merges lead to it.
    pub(super) ignore_merges: bool,
    /// Whether a beginning-of-sequence token is added where the file does not say.
    pub(super) add_bos: bool,
}

/// GPT-2: contractions, words, numbers and punctuation, each with at most one space before it; trailing white space
/// apart.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Llama 3: as GPT-2, but any one character may precede a word, numbers are cut to three digits, and newlines end
/// punctuation.
const LLAMA3: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2: Llama 3 with single digits.
const QWEN2: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 3.5: Qwen 2 with combining marks as part of words.
const QWEN35: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// DeepSeek V3, after digits and Chinese and Japanese runs are cut out: punctuation may lead a Latin word.
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

const fn row(names: &'static [&'static str], patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { names, patterns, ignore_merges: false, add_bos: false }
}

const TABLE: &[PreTokenizer] = &[
    row(&["default"], &[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
    row(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
        ],
        &[GPT2],
    ),
    row(&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"], &[r"\p{N}", GPT2]),
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    row(&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], &[LLAMA3]),
    row(&["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "solar-open"], &[QWEN2]),
    row(&["qwen35"], &[QWEN35]),
    row(&["deepseek-v3", "hunyuan-dense"], &[r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3]),
    row(&["falcon"], &[r"[\p{P}$+<=>^~|`]+", GPT2, r"[0-9][0-9][0-9]"]),
];

impl PreTokenizer {
    /// The row with this name.
    pub(super) fn named(name: &str) -> Result<&'static Self, TokenizerError> {
        TABLE.iter().find(|row| row.names.contains(&name)).ok_or_else(|| TokenizerError::UnsupportedPre {
            found: name.into(),
            supported: TABLE.iter().flat_map(|row| row.names).copied().collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for name in TABLE.iter().flat_map(|row| row.names) {
            assert!(seen.insert(name), "{name} is there twice");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let error = PreTokenizer::named("no-such").unwrap_err().to_string();
        assert!(error.contains("no-such") && error.contains("smollm") && error.contains("qwen2"), "{error}");
    }
}
