//! What answers are: the forms that the OpenAPI document tells, and that tests hold real answers to.

mod chat;
mod completion;
mod cost;
mod insight;
mod lists;
mod refusal;
mod response;
mod server;

pub use self::chat::{
    CalledFunction, ChatChoice, ChatChunk, ChatCompletion, ChatDelta, ChatLogProbabilities, ChatMessageAnswer,
    ChunkChoice, FunctionCall, LikelyToken, Live, StreamInsight, TokenLikelihood,
};
pub use self::completion::{CompletionChoice, CompletionLogProbabilities, TextCompletion};
pub use self::cost::{CacheCost, ChoiceCost, Fillings, PromptTokens, Timings, Usage};
pub use self::insight::{Kept, Shown, ShownOfAll, ShownOfEach};
pub use self::lists::{Document, Embedding, EmbeddingList, ModelEntry, ModelList, Ranked, Ranking, TextUsage, Vector};
pub use self::refusal::{ErrorBody, ErrorDetail, Refused};
pub use self::response::{
    ItemStatus, OutputItem, OutputTokens, ResponseEvent, ResponseObject, ResponseStatus, ResponseUsage, TextPart, Why,
};
pub use self::server::{Defaults, Health, Limits, Method, Props};
