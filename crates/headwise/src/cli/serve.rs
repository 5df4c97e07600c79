//! `headwise serve`

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use headwise::engine::cache::CachePolicy;
use headwise::engine::schedule::ScheduleLimits;
use headwise::engine::{NamedAdapter, TextModel};
use headwise::models::embedded;
use headwise::serve::{App, Keys, Options, check_names, serve, shares, time_limit};
use headwise::spec::bytes;
use tracing_subscriber::EnvFilter;

use super::model::Run;
use super::{Outcome, read_text};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Log {
    /// Lines to read
    #[default]
    Text,
    /// Lines of JSON
    Json,
}

/// Answer requests of OpenAI's clients with any cache policy.
#[derive(Debug, Args)]
pub struct Serve {
    /// Model files, or names that `pull` knows; NAME=MODEL lets requests ask for it as NAME
    #[arg(default_value = embedded::NAME, value_name = "MODEL")]
    models: Vec<String>,
    /// Cache policy of requests that name none
    #[arg(long, default_value = "full")]
    cache: String,
    /// Address to listen on; only this machine can ask at the default one
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// A file of API keys, one on every line; requests must have one of them
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The name that requests ask for, if there is one model; that of the model if not given
    #[arg(long)]
    alias: Option<String>,
    /// A folder with a LoRA adapter of the first model, as PEFT writes it, which requests ask for as the model NAME; may be repeated
    #[arg(long, value_name = "NAME=FOLDER")]
    lora: Vec<String>,
    /// A chat template to use in the place of the model's own, if there is one model
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Memory of all caches together, such as `2GiB`; half of what is free if not given. Several models divide it so that all can hold
    /// equally many tokens
    #[arg(long, value_name = "SIZE")]
    kv_mem: Option<String>,
    /// Of it, what earlier prompts may have; half if not given, 0 to keep none
    #[arg(long, value_name = "SIZE")]
    prefix_mem: Option<String>,
    /// Of it, what is known of texts that requests mark as `shared` may have; a quarter if not given, 0 to read them like others
    #[arg(long, value_name = "SIZE")]
    shared_mem: Option<String>,
    /// A directory in which earlier prompts are kept from one run to the next
    #[arg(long, value_name = "DIRECTORY")]
    prefix_dir: Option<PathBuf>,
    /// Texts that are written together
    #[arg(long, default_value_t = ScheduleLimits::default().texts)]
    max_active: usize,
    /// Requests that may wait; more are told to come again
    #[arg(long, default_value_t = ScheduleLimits::default().waiting)]
    max_waiting: usize,
    /// Size that a request may have
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    max_body: String,
    /// Tokens that an answer may have; as many as the context holds if not given
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<usize>,
    /// Seconds that an answer may take from when its request leaves the queue, and that a request waits there; no limit if not given
    #[arg(long, value_name = "SECONDS")]
    max_seconds: Option<f64>,
    /// Seconds in which a request must have come
    #[arg(long, default_value_t = 30)]
    request_timeout: u64,
    /// Seconds that answers have to end when the server is asked to stop
    #[arg(long, default_value_t = 30)]
    drain: u64,
    /// Leave out fields of requests that are not known, instead of refusing them
    #[arg(long)]
    lenient: bool,
    /// An origin whose pages may ask, or `*` for any
    #[arg(long, value_name = "ORIGIN")]
    cors: Option<String>,
    /// How the log is written, on standard error; the variable HEADWISE_LOG says how much, such as `debug`
    #[arg(long, value_enum, default_value_t)]
    log: Log,
    #[command(flatten)]
    run: Run,
}

impl Serve {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let options = self.options()?;
        self.write_log();
        let models = self.open()?;
        // What a request would be told is said before there are any.
        for model in &models {
            model.engine.sequence(&options.policy)?;
        }
        let about = plan(&models, &options);
        let app = Arc::new(App::new(models, options)?);
        let served = app.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let address = SocketAddr::new(self.host, self.port);
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .map_err(|error| format!("cannot listen on {address}: {error}"))?;
            eprintln!("{about}\nhttp://{} answers requests; Ctrl-C ends it", listener.local_addr()?);
            Ok::<_, Box<dyn Error>>(serve(served, listener, asked_to_stop()).await?)
        })?;
        // Connections that are still open are broken off, so that the model's thread ends with its work done.
        runtime.shutdown_timeout(Duration::from_secs(2));
        drop(app);
        Ok(())
    }

    fn options(&self) -> Result<Options, Box<dyn Error>> {
        let keys = match &self.api_key_file {
            None => Keys::default(),
            Some(path) => {
                let keys = Keys::parse(&read_text(path)?);
                if keys.is_empty() {
                    return Err(format!("{} has no key: write one on every line", path.display()).into());
                }
                keys
            }
        };
        let size = |name: &str, text: &str| bytes::parse(text).map_err(|error| format!("--{name}: {error}"));
        let kv = match &self.kv_mem {
            Some(text) => size("kv-mem", text)? as usize,
            None => free_memory() / 2,
        };
        let share = |name: &str, text: &Option<String>, otherwise: usize| match text.as_deref() {
            Some("0") => Ok(0),
            Some(text) => size(name, text).map(|bytes| bytes as usize),
            None => Ok(otherwise),
        };
        if self.max_active == 0 || self.max_waiting == 0 {
            return Err("--max-active and --max-waiting must be at least 1".into());
        }
        if self.max_tokens == Some(0) {
            return Err("--max-tokens is 0: an answer has at least one".into());
        }
        let seconds = |seconds| time_limit(seconds).map_err(|wrong| format!("--max-seconds is {wrong}"));
        let schedule = ScheduleLimits {
            bytes: kv,
            prefix_bytes: share("prefix-mem", &self.prefix_mem, kv / 2)?,
            shared_bytes: share("shared-mem", &self.shared_mem, kv / 4)?,
            texts: self.max_active,
            waiting: self.max_waiting,
            ..ScheduleLimits::default()
        };
        Ok(Options {
            policy: CachePolicy::parse(&self.cache)?,
            keys,
            lenient: self.lenient,
            cors: self.cors.clone(),
            body_bytes: size("max-body", &self.max_body)? as usize,
            answer_tokens: self.max_tokens,
            answer_time: self.max_seconds.map(seconds).transpose()?,
            request_seconds: self.request_timeout.max(1),
            drain_seconds: self.drain,
            prompts: self.prefix_dir.clone(),
            schedule,
        })
    }

    /// The models under the names that requests ask for.
    fn open(&self) -> Result<Vec<TextModel>, Box<dyn Error>> {
        let mut asked: Vec<Asked<'_>> = self.models.iter().map(|text| Asked::read(text)).collect::<Result<_, _>>()?;
        match asked.as_mut_slice() {
            [one] => one.name = self.alias.as_deref().or(one.name),
            _ if self.alias.is_some() => {
                return Err("--alias names one model, and there are several: write NAME=MODEL for each".into());
            }
            _ if self.chat_template.is_some() => {
                return Err("--chat-template is for one model, and there are several: serve that one by itself".into());
            }
            _ => {}
        }
        let adapters: Vec<(&str, &Path)> = self.lora.iter().map(|text| adapter(text)).collect::<Result<_, _>>()?;
        // Names that are known already are compared before anything is loaded; the others come from the files.
        let names = asked.iter().map(|asked| asked.name.unwrap_or(asked.model));
        check_names(names.chain(adapters.iter().map(|(name, _)| *name)))?;
        let template = self.chat_template.as_deref().map(read_text).transpose()?;
        let mut models = Vec::with_capacity(asked.len());
        for Asked { name, model } in asked {
            let mut opened = self.run.open_with_template(model, template.as_deref())?;
            if let Some(name) = name {
                opened.name = name.to_owned();
            }
            models.push(opened);
        }
        if let Some(first) = models.first_mut() {
            for (name, folder) in adapters {
                first.engine.add_adapter(name, folder).map_err(|error| format!("--lora {name}: {error}"))?;
            }
        }
        Ok(models)
    }

    fn write_log(&self) {
        let filter = EnvFilter::try_from_env("HEADWISE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // Another log may be there already when this runs inside of another program.
        let _ = match self.log {
            Log::Text => log.try_init(),
            Log::Json => log.json().try_init(),
        };
    }
}

/// Waits until the process is asked to end.
async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}

/// A model as the command line names it.
struct Asked<'a> {
    /// The name that requests ask for; none if the file says it.
    name: Option<&'a str>,
    /// A path, or a name that is known.
    model: &'a str,
}

impl<'a> Asked<'a> {
    /// `text` is MODEL or NAME=MODEL; a path that exists is one, whatever letters it has.
    fn read(text: &'a str) -> Result<Self, Box<dyn Error>> {
        match text.split_once('=').filter(|_| !Path::new(text).exists()) {
            Some((name, model)) if name.is_empty() || model.is_empty() => {
                Err(format!("`{text}` is no model: write MODEL or NAME=MODEL").into())
            }
            Some((name, model)) => Ok(Self { name: Some(name), model }),
            None => Ok(Self { name: (!Path::new(text).exists()).then_some(text), model: text }),
        }
    }
}

/// The name and the folder of an adapter.
fn adapter(text: &str) -> Result<(&str, &Path), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => Ok((name, Path::new(folder))),
        _ => Err(format!("--lora {text}: write NAME=FOLDER, with the name that requests ask for")),
    }
}

/// What is served and what it may take: a line for every model.
fn plan(models: &[TextModel], options: &Options) -> String {
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let told =
        |named: &NamedAdapter| format!("\n{}: a LoRA adapter, {:.1} MB", named.name, megabytes(named.adapter.bytes()));
    let line = |(model, share): (&TextModel, ScheduleLimits)| {
        let engine = &model.engine;
        format!(
            "{}: context {} tokens, cache `{}`; memory for caches {:.0} MB ({:.0} MB of it for earlier prompts), a full context takes {:.0} MB; {} threads{}",
            model.name,
            engine.context(),
            options.policy,
            megabytes(share.bytes),
            megabytes(share.prefix_bytes),
            megabytes(engine.uncompressed_bytes(engine.context())),
            engine.threads(),
            if models.len() > 1 { ", the same for all" } else { "" },
        ) + &engine.adapters().iter().map(told).collect::<String>()
    };
    models.iter().zip(shares(models, options.schedule)).map(line).collect::<Vec<_>>().join("\n")
}

/// Bytes of memory that are free; two gigabytes where the system does not say.
fn free_memory() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kilobytes.map_or(4 << 30, |kilobytes| kilobytes << 10)
}
