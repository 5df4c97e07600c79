//! Training a byte-level BPE vocabulary. Sennrich et al. 2016, arXiv:1508.07909.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, PostProcessorWrapper, SplitDelimiterBehavior, TokenizerBuilder,
};

use super::{DataError, SourceSpec};

headwise_spec::method! {
    /// A byte-level BPE vocabulary learnt from the sources before the run, and kept in its folder.
    ///
    /// Sennrich et al. 2016, arXiv:1508.07909.
    pub struct Bpe {
        /// Tokens, the 256 bytes and the end of a text included.
        pub vocabulary: usize = 4096,
    }
}

/// The end of a text.
const END: &str = "<|endoftext|>";

/// The `tokenizer_config.json` beside it.
pub(super) const CONFIG: &str = "{\n  \"eos_token\": \"<|endoftext|>\"\n}\n";

/// Words with the space before them, single digits, runs of signs, runs of spaces.
const PATTERN: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The text of a `tokenizer.json` learnt from all texts of `sources`.
pub(super) fn learn(spec: &Bpe, sources: &[SourceSpec]) -> Result<String, DataError> {
    let texts: Vec<Vec<String>> = sources.iter().map(SourceSpec::texts).collect::<Result<_, _>>()?;
    train_bpe(texts.iter().flatten().map(String::as_str), spec.vocabulary)
}

/// The text of a `tokenizer.json` with `vocabulary` tokens, learnt from `texts`; the last of them ends a text.
///
/// Digits are tokens of their own, so that numbers are copied and added digit by digit.
fn train_bpe<'a>(texts: impl Iterator<Item = &'a str> + Send, vocabulary: usize) -> Result<String, DataError> {
    let failed = |error: tokenizers::Error| DataError::Bpe(error.to_string());
    let bytes = ByteLevel::alphabet();
    let special = vec![AddedToken::from(END, true)];
    if vocabulary <= bytes.len() + special.len() {
        return Err(DataError::Bpe(format!(
            "a vocabulary of {vocabulary} is too small: it must be above {}, for the bytes and the end of a text",
            bytes.len() + special.len()
        )));
    }
    let pattern = SplitPattern::Regex(PATTERN.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    let byte_level = ByteLevel::new(false, false, false);
    let steps = vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(byte_level)];
    let mut tokenizer = TokenizerBuilder::<ModelWrapper, NFC, Sequence, PostProcessorWrapper, DecoderWrapper>::new()
        .with_model(ModelWrapper::BPE(BPE::default()))
        .with_normalizer(None)
        .with_pre_tokenizer(Some(Sequence::new(steps)))
        .with_post_processor(None)
        .with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)))
        .build()
        .map_err(failed)?;
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(bytes.into_iter().collect())
        .special_tokens(special)
        .build()
        .into();
    let _: &mut _ = tokenizer.train(&mut trainer, texts.map(str::to_owned)).map_err(failed)?;
    tokenizer.to_string(true).map_err(failed)
}
