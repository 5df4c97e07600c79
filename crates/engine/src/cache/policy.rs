//! A whole cache policy: a chain of methods, checked, with its canonical text.

use std::fmt;
use std::sync::Arc;

use headwise_kernels::kv::Codec;
use headwise_models::decoder::DecoderSpec;
use headwise_spec::Family;

use super::evict::evict;
use super::{
    Act, CacheMethod, Division, Evictor, LayerStore, Limit, Limits, Needs, Part, Plan, PolicyError, PromptFilter,
    Selector, StoreShape, UncompStages, When, WholeHeads, WholeShare,
};
use crate::engine::layer_with_state;
use crate::heads::{Scope, fades};
use crate::pine::SegmentsError;

/// One evicting policy with its shared parameters.
#[derive(Clone, Debug)]
struct Step {
    evictor: Arc<dyn Evictor>,
    limits: Limits,
}

impl Step {
    fn new(evictor: Arc<dyn Evictor>) -> Result<Self, PolicyError> {
        let limits = evictor.limits().map_err(PolicyError::Parameter)?;
        Ok(Self { evictor, limits })
    }

    /// Pairs per head that layer `place` may hold after `tokens` of text.
    ///
    /// The budgets of layers are divided when the prompt ends; what the budget has grown by since then, all layers get.
    fn budget(&self, store: &LayerStore, place: Place, tokens: usize) -> usize {
        let pairs = |tokens| self.limits.pairs(tokens, store.pair_bytes(), place.stores);
        let prompt = store.prompt_tokens();
        let plan = Plan { layer: place.layer, layers: place.layers, tokens: prompt, budget: pairs(prompt) };
        (self.evictor.layer_budget(&plan) + pairs(tokens) - plan.budget).max(1)
    }
}

/// What a cache keeps and how it stores it.
#[derive(Clone, Debug)]
pub struct CachePolicy {
    text: String,
    filter: Option<Arc<dyn PromptFilter>>,
    steps: Vec<Step>,
    selector: Option<Arc<dyn Selector>>,
    /// Divides the budgets of all steps over heads.
    division: Option<Division>,
    /// How many tokens of a prompt each layer reads.
    stages: Option<UncompStages>,
    /// Moves attention away from sinks.
    calibration: Option<Act>,
    codec: Codec,
    /// What is gathered for other policies.
    for_others: Needs,
}

impl CachePolicy {
    /// Reads a policy such as `snapkv(keep=0.25) + int8`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let methods = headwise_spec::from_chain_text::<CacheMethod>(text).map_err(PolicyError::Spec)?;
        Self::new(&methods)
    }

    /// The policy made of `methods`, in order.
    pub fn new(methods: &[CacheMethod]) -> Result<Self, PolicyError> {
        let mut steps: Vec<Step> = Vec::new();
        let mut selector: Option<(Arc<dyn Selector>, &CacheMethod)> = None;
        let mut division: Option<(Division, String)> = None;
        let mut stages: Option<UncompStages> = None;
        let mut calibration: Option<Act> = None;
        let mut whole: Option<(WholeHeads, String)> = None;
        let mut codec: Option<(Codec, String)> = None;
        let mut filter: Option<(Arc<dyn PromptFilter>, String)> = None;
        for method in methods {
            match method.part() {
                Part::Nothing => {}
                Part::Evictor(evictor) => {
                    if let Some(new) = evictor.whole_heads() {
                        let (first, name) = whole.get_or_insert_with(|| (new.clone(), method.to_string()));
                        if *first != new {
                            let (first, second) = (name.clone(), method.to_string());
                            return Err(PolicyError::TwoPartitions { first, second });
                        }
                    }
                    steps.push(Step::new(evictor)?);
                }
                Part::Filter(new) => {
                    if let Some((_, first)) = filter {
                        return Err(PolicyError::TwoFilters { first, second: method.name().into() });
                    }
                    new.limits().map_err(PolicyError::Parameter)?;
                    filter = Some((new, method.name().into()));
                }
                Part::Selector(new) => {
                    if let Some((_, first)) = selector {
                        let (first, second) = (first.to_string(), method.to_string());
                        return Err(PolicyError::TwoSelectors { first, second });
                    }
                    new.check().map_err(PolicyError::Parameter)?;
                    selector = Some((new, method));
                }
                Part::Division(new) => {
                    new.check()?;
                    if let Some((_, first)) = division.replace((new, method.name().into())) {
                        return Err(PolicyError::TwoDivisions { first, second: method.name().into() });
                    }
                }
                Part::Stages(new) => {
                    new.check()?;
                    if stages.replace(new).is_some() {
                        return Err(PolicyError::TwoStages);
                    }
                }
                Part::Calibration(new) => {
                    new.check()?;
                    if calibration.replace(new).is_some() {
                        return Err(PolicyError::TwoCalibrations);
                    }
                }
                Part::Codec(new) => {
                    if let Some((_, first)) = codec {
                        return Err(PolicyError::TwoCodecs { first, second: method.name().into() });
                    }
                    codec = Some((new, method.name().into()));
                }
            }
        }
        check_company(methods, &steps, selector.as_ref().map(|(selector, method)| (selector.as_ref(), *method)))?;
        if let Some((_, name)) = &division {
            check_division(methods, name)?;
        }
        if calibration.is_some() {
            check_calibration(methods, &steps)?;
        }
        Ok(Self {
            text: headwise_spec::to_chain_text(methods),
            filter: filter.map(|(filter, _)| filter),
            steps,
            selector: selector.map(|(selector, _)| selector),
            division: division.map(|(division, _)| division),
            stages,
            calibration,
            codec: codec.map_or(Codec::F16, |(codec, _)| codec),
            for_others: Needs::default(),
        })
    }

    /// A policy of evictors that need not be [`CacheMethod`]s, called `text` in reports.
    pub fn custom(text: impl Into<String>, evictors: Vec<Arc<dyn Evictor>>, codec: Codec) -> Result<Self, PolicyError> {
        let steps = evictors.into_iter().map(Step::new).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), steps, codec, ..Self::full() })
    }

    /// Keeps everything in half precision.
    pub fn full() -> Self {
        Self {
            text: "full".into(),
            filter: None,
            steps: Vec::new(),
            selector: None,
            division: None,
            stages: None,
            calibration: None,
            codec: Codec::F16,
            for_others: Needs::default(),
        }
    }

    /// Keeps everything, stored as `codec`, and gathers `needs`.
    pub(crate) fn gathering(codec: Codec, needs: Needs) -> Self {
        Self { codec, for_others: needs, ..Self::full() }
    }

    /// The same policy, which also gathers `needs`.
    pub(crate) fn also_gathering(&self, needs: Needs) -> Self {
        Self { for_others: self.for_others.union(needs), ..self.clone() }
    }

    /// Whether some tokens of a prompt are not read, or not in all layers: without a prompt the policy does nothing.
    pub fn chooses_from_prompts(&self) -> bool {
        self.filter.is_some() || self.stages.is_some()
    }

    /// What chooses the tokens of a prompt that are read.
    pub(crate) fn filter(&self) -> Option<&Arc<dyn PromptFilter>> {
        self.filter.as_ref()
    }

    /// A policy that gathers what all of `policies` need and keeps everything until the prompt ends; `None` if one of
    /// them does not wait for the end, or they store pairs or cut them into chunks differently.
    pub(crate) fn together(policies: &[&Self]) -> Option<Self> {
        let codec = policies.first()?.codec;
        let texts: Vec<&str> = policies.iter().map(|policy| policy.text.as_str()).collect();
        let steps = policies.iter().flat_map(|policy| policy.steps.iter().cloned()).collect();
        let for_others = policies.iter().fold(Needs::default(), |needs, policy| needs.union(policy.needs()));
        let text = texts.join(" | ");
        let chunks = |needs: Needs| [0, for_others.chunk].contains(&needs.chunk);
        let alike = |policy: &&Self| policy.codec == codec && policy.waits_for_the_end() && chunks(policy.needs());
        policies.iter().all(alike).then(|| Self { text, steps, codec, for_others, ..Self::full() })
    }

    /// Checks that tokens can be taken back, so that the text is as if they had never been read.
    pub fn check_rollback(&self) -> Result<(), PolicyError> {
        let reason = match () {
            () if self.evicts() => "it evicts while a text is written, and what has left does not come back",
            () if self.selector.is_some() => "what it reads depends on what the tokens before have read",
            () if self.codec.full_precision_window().is_some() => "its codec codes many tokens together",
            () => return Ok(()),
        };
        Err(PolicyError::NoRollback { policy: self.text.clone(), reason })
    }

    /// Checks that the policy only stores, so that every token can see every segment of a set, wherever it stands.
    pub(crate) fn check_segments(&self) -> Result<(), SegmentsError> {
        let reason = match () {
            () if self.evicts() => "it lets pairs go by where they stand in the text",
            () if self.chooses_from_prompts() => "it reads a part of a prompt only",
            () if self.selector.is_some() => "it chooses what a token reads by where it stands in the text",
            () if self.calibration.is_some() => "it moves attention by where tokens stand in the text",
            () => return Ok(()),
        };
        Err(SegmentsError::Policy { policy: self.text.clone(), reason })
    }

    /// Whether keys that stay are moved to other positions.
    pub fn counts_positions_anew(&self) -> bool {
        self.steps.iter().any(|step| step.limits.reindex)
    }

    /// Whether pairs are ever evicted.
    pub fn evicts(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether nothing but storing is done to pairs once a prompt has been read.
    pub(crate) fn only_stores(&self) -> bool {
        !self.evicts() && self.selector.is_none() && self.calibration.is_none()
    }

    /// How many tokens of a prompt each layer reads, if not all.
    pub(crate) fn stages(&self) -> Option<&UncompStages> {
        self.stages.as_ref()
    }

    /// Whether the entropies of a model's heads have to be known.
    pub(crate) fn needs_entropies(&self) -> bool {
        self.stages.is_some() || matches!(self.division, Some(Division::Entropies(_)))
    }

    /// What chooses the pairs that a query reads; without it, all are read.
    pub(crate) fn selector(&self) -> Option<&dyn Selector> {
        self.selector.as_deref()
    }

    /// Everything that has to be gathered.
    pub(crate) fn needs(&self) -> Needs {
        let of_selector = self.selector.as_ref().map_or_else(Needs::default, |selector| selector.needs());
        let of_stages = self.stages.as_ref().map_or_else(Needs::default, UncompStages::needs);
        let needs = of_selector.union(of_stages).union(self.for_others);
        self.steps.iter().fold(needs, |needs, step| needs.union(step.evictor.needs()))
    }

    /// Whether what is read has the same bits however a prompt is cut into chunks.
    pub(crate) fn reads_in_any_chunks(&self) -> bool {
        self.waits_for_the_end() && self.codec.full_precision_window().is_none()
    }

    /// Whether the policy reads a prompt in ways that a chunk of a forward cannot.
    pub(crate) fn reads_alone(&self) -> bool {
        self.filter.is_some() || self.stages.is_some()
    }

    /// Whether a text that was read under this policy, before its prompt ended, is also what `other` would have read, but for the last
    /// queries that either keeps.
    pub(crate) fn reads_for(&self, other: &Self) -> bool {
        let moves = Self::counts_positions_anew;
        let both = self.reads_in_any_chunks() && other.reads_in_any_chunks();
        let gathered = self.needs().without_queries().cover(other.needs().without_queries());
        both && gathered && self.codec == other.codec && (moves(self) || !moves(other))
    }

    /// How pairs are stored.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether the prompt is read with full attention before anything is evicted, so that prefills can be shared.
    pub fn waits_for_the_end(&self) -> bool {
        let reads_all = self.filter.is_none() && self.stages.is_none() && self.calibration.is_none();
        reads_all && self.steps.iter().all(|step| step.limits.when == When::End)
    }

    /// The share of pairs that is kept, where the policy states one.
    pub fn keep(&self) -> Option<f64> {
        self.limits()
            .filter_map(|limits| match limits.limit {
                Limit::Share(share) => Some(share),
                _ => None,
            })
            .reduce(f64::min)
    }

    /// What every part may keep.
    fn limits(&self) -> impl Iterator<Item = Limits> {
        let filter = self.filter.iter().filter_map(|filter| filter.limits().ok());
        filter.chain(self.steps.iter().map(|step| step.limits.clone()))
    }

    /// Checks the policy against a context of `context` tokens.
    pub fn check(&self, context: usize) -> Result<(), PolicyError> {
        for limits in self.limits() {
            if let Limit::Pairs(budget) = limits.limit
                && budget > context
            {
                return Err(PolicyError::AboveContext { budget, context });
            }
        }
        Ok(())
    }

    /// The heads that keep everything, if the policy makes the difference.
    pub(crate) fn whole_heads(&self) -> Option<WholeHeads> {
        self.steps.iter().find_map(|step| step.evictor.whole_heads())
    }

    /// When a key of a head with ALiBi is out of sight, if the policy asks how far such heads see.
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.steps.iter().find_map(|step| step.evictor.scope())
    }

    /// Checks the policy against `model`, of which it keeps the key-value heads `whole` whole.
    pub(crate) fn check_model(&self, model: &DecoderSpec, whole: &[[usize; 2]]) -> Result<(), PolicyError> {
        WholeShare::check(model, whole)?;
        if let Some(act) = &self.calibration {
            act.check_model(model)?;
        }
        let compensates = |step: &Step| step.evictor.compensates() && step.evictor.scope().is_none();
        match model.layers.iter().position(fades) {
            Some(layer) if self.steps.iter().any(compensates) => {
                Err(PolicyError::Alibi { layer, policy: self.text.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Checks that `model` keeps pairs for the policy to act on, and that tokens are left out of no layer that needs all.
    pub(crate) fn check_pairs(&self, model: &DecoderSpec) -> Result<(), PolicyError> {
        let acts = self.evicts() || self.selector.is_some() || self.filter.is_some() || self.calibration.is_some();
        if (acts || self.stages.is_some()) && model.layers.iter().all(|layer| layer.mixer.softmax().is_none()) {
            return Err(PolicyError::NoPairs { policy: self.text.clone() });
        }
        match layer_with_state(model) {
            Some((layer, mixer)) if self.stages.is_some() => Err(PolicyError::StagesOfStates { layer, mixer }),
            _ => Ok(()),
        }
    }

    /// Empty stores for every layer of `model`, whose heads are known as far as the policy asked.
    pub(crate) fn stores(&self, model: &DecoderSpec, known: &KnownHeads) -> Vec<LayerStore> {
        let needs = self.needs();
        let reindex = self.steps.iter().any(|step| step.limits.reindex);
        model
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| {
                let shape = StoreShape::of(layer, model.dim);
                let needs = if shape.sees_everything() { needs } else { Needs::default() };
                let calibration = self.calibration.as_ref().and_then(|act| act.of_layer(model, index));
                let needs = Needs { column_sums: needs.column_sums || calibration.is_some(), ..needs };
                LayerStore::new(index, shape, self.codec, needs, reindex && shape.sees_everything())
                    .with_state(layer.mixer.state(model.dim))
                    .with_whole_heads(WholeShare::of(model, &known.whole, index))
                    .with_entropies(known.entropies.get(index).cloned().unwrap_or_default())
                    .with_scopes(known.scopes.get(index).cloned().unwrap_or_default())
                    .with_calibration(calibration)
            })
            .collect()
    }

    /// Brings `store` back into its budget after `tokens` of text.
    pub(crate) fn hold(&self, store: &mut LayerStore, place: Place, tokens: usize, stage: Stage) {
        if !store.shape().sees_everything() {
            return;
        }
        if stage != Stage::Decode {
            store.note_prompt();
        }
        for step in &self.steps {
            if stage != Stage::Prompt || step.limits.when == When::Chunk {
                let budget = step.budget(store, place, tokens);
                let (evictor, division) = (step.evictor.as_ref(), self.division.as_ref());
                evict(evictor, &step.limits, division, store, budget, stage == Stage::Decode);
            }
        }
    }
}

/// Refuses methods that contradict each other; `steps` are the evicting ones among `methods`.
fn check_company(
    methods: &[CacheMethod],
    steps: &[Step],
    selector: Option<(&dyn Selector, &CacheMethod)>,
) -> Result<(), PolicyError> {
    let full = methods.iter().any(|method| matches!(method, CacheMethod::Full(_)));
    let evicting: Vec<_> = methods.iter().filter(|method| matches!(method.part(), Part::Evictor(_))).collect();
    let mut cutting = methods.iter().filter(|method| matches!(method.part(), Part::Evictor(_) | Part::Filter(_)));
    if let (true, Some(other)) = (full, cutting.next()) {
        return Err(PolicyError::FullAndEvicting { other: other.to_string() });
    }
    let reindexing = evicting.iter().zip(steps).find(|(_, step)| step.limits.reindex);
    match (selector, reindexing) {
        (Some((selector, reading)), Some((evicting, _))) if selector.reindexes() => {
            Err(PolicyError::TwoPositions { evicting: evicting.to_string(), reading: reading.to_string() })
        }
        _ => Ok(()),
    }
}

/// Whether `division` can divide the budgets of `methods` over heads.
fn check_division(methods: &[CacheMethod], division: &str) -> Result<(), PolicyError> {
    let mut budgets = 0;
    for method in methods {
        if let Part::Evictor(evictor) = method.part() {
            budgets += 1;
            if let Some(reason) = evictor.undividable() {
                let (division, policy) = (division.into(), method.name().into());
                return Err(PolicyError::Undividable { division, policy, reason });
            }
        }
    }
    if budgets == 0 { Err(PolicyError::NothingToDivide { division: division.into() }) } else { Ok(()) }
}

/// Whether attention can be moved in a cache of `methods`, the evicting ones of which are `steps`.
fn check_calibration(methods: &[CacheMethod], steps: &[Step]) -> Result<(), PolicyError> {
    let reindexing = steps.iter().any(|step| step.limits.reindex);
    let refused = methods.iter().find_map(|method| match method.part() {
        Part::Stages(_) => Some((method, "leaves rows out, so that it is not known how many have seen a token")),
        Part::Selector(_) => Some((method, "reads some of the pairs only, so that the weight of a sink is not known")),
        Part::Evictor(evictor) if reindexing && evictor.limits().is_ok_and(|limits| limits.reindex) => {
            Some((method, "counts positions anew, so that it is not known how many rows have seen a token"))
        }
        _ => None,
    });
    match refused {
        Some((other, reason)) => Err(PolicyError::Uncalibrated { other: other.to_string(), reason }),
        None => Ok(()),
    }
}

/// What is known of a model's heads, as far as a policy asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownHeads {
    /// Key-value heads that keep everything, each `[layer, head]`.
    pub whole: Vec<[usize; 2]>,
    /// Entropy of every key-value head, `[layers][kv_heads]`.
    pub entropies: Vec<Vec<f64>>,
    /// Keys that every key-value head with ALiBi sees, `[layers][kv_heads]`.
    pub scopes: Vec<Vec<usize>>,
}

/// Where a layer stands among those that evict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub layer: usize,
    pub layers: usize,
    /// Key-value heads of all layers together.
    pub stores: usize,
}

/// What has just been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A chunk of the prompt that is not its last.
    Prompt,
    /// The end of the prompt.
    PromptEnd,
    /// Anything after the prompt.
    Decode,
}

impl fmt::Display for CachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
