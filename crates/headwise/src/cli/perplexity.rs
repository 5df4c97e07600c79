//! `headwise perplexity`

use std::path::PathBuf;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::lab::perplexity::{self, Perplexity};
use headwise::lab::softmax_form::SoftmaxForm;
use indicatif::ProgressBar;

use super::Outcome;
use super::model::Run;
use super::progress::style;

/// How well a model predicts a text under a cache policy.
#[derive(Debug, Args)]
pub struct Measure {
    /// A model file, or a name that `pull` knows
    model: String,
    /// The text
    file: PathBuf,
    /// Cache policy, for example `snapkv(keep=0.25) + int8`
    #[arg(long, default_value = "full")]
    cache: String,
    /// Use so many tokens of the text
    #[arg(long, default_value_t = 2048)]
    tokens: usize,
    /// Tokens read before the first one counts; policies compress after them, and those that choose from prompts, such as `gemfilter`,
    /// choose from them
    #[arg(long, default_value_t = 0)]
    context: usize,
    /// Compute the weights of attention as another processor would: `integer_softmax(bits=8)` or `log2_softmax(bits=4)`. The text is
    /// read at once, without a cache
    #[arg(long, value_name = "SPEC", conflicts_with = "cache")]
    softmax: Option<String>,
    #[command(flatten)]
    run: Run,
}

impl Measure {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let policy = CachePolicy::parse(&self.cache)?;
        let form = self.softmax.as_deref().map(headwise::spec::from_text::<SoftmaxForm>).transpose()?;
        form.iter().try_for_each(|form| form.check().map_err(|reason| format!("--softmax {form}: {reason}")))?;
        let text = super::read_text(&self.file)?;
        let model = self.run.open(&self.model)?;
        let mut ids = model.encode(&text)?;
        ids.truncate(self.tokens);
        if let Some(form) = form {
            let bar = ProgressBar::new(model.engine.spec().layers.len() as u64)
                .with_style(style("reading {bar:30} layer {pos} of {len}, {eta} left"));
            let Perplexity { value, tokens, .. } =
                form.perplexity(&model.engine, &ids, self.context, |layers| bar.set_position(layers as u64))?;
            bar.finish_and_clear();
            println!("perplexity {value:.4} over {tokens} tokens; weights of attention as {form}");
            return Ok(());
        }
        let bar =
            ProgressBar::new(ids.len() as u64).with_style(style("reading {bar:30} {pos}/{len} tokens, {eta} left"));
        let Perplexity { value, tokens, bytes } =
            perplexity::measure(&model.engine, &policy, &ids, self.context, |read| bar.set_position(read as u64))?;
        bar.finish_and_clear();
        println!("perplexity {value:.4} over {tokens} tokens; cache {policy}: {:.2} MB", bytes as f64 / 1e6);
        Ok(())
    }
}
