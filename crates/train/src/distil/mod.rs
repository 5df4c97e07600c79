//! Distillation: a student learns from a teacher besides what its texts say.
//!
//! ```toml
//! [distil]
//! teacher = "teacher/model"                       # a folder or GGUF file, with the same tokens
//! imitate = ["soft_targets(temperature=2)", "hidden_states(weight=0.1)"]
//! targets = 0.5                                   # the weight of the run's own loss
//! ```

mod hidden;
mod soft;
mod teacher;

use serde::{Deserialize, Serialize};

pub use hidden::Projection;
pub(crate) use teacher::Distillation;

headwise_spec::family! {
    /// What a student imitates of its teacher.
    pub enum Imitation: "imitation" {
        soft_targets => SoftTargets,
        hidden_states => HiddenStates,
    }
}

headwise_spec::method! {
    /// The probabilities that the teacher gives to all tokens.
    ///
    /// `weight · T² KL(softmax(z_teacher / T) ‖ softmax(z_student / T))` after every token with an answer. Neither's scores are in memory for
    /// more than some rows at a time. Hinton et al. 2015, arXiv:1503.02531.
    pub struct SoftTargets {
        /// What both scores are divided by; above 1 the unlikely tokens say more.
        pub temperature: f64 = 2.0,
        /// Its weight in the sum of all losses.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// The residual stream after every layer.
    ///
    /// `weight · |P h_student - h_teacher|² / |h_teacher|²` after every token with an answer, as a mean over the student's layers: the last
    /// is held against the teacher's last, the others at even distances. `P` is a matrix that is learned beside the student and
    /// thrown away. TinyBERT, Jiao et al. 2020, arXiv:1909.10351; dividing by the length is ours, so that a weight means the same for
    /// every teacher.
    pub struct HiddenStates {
        /// Its weight in the sum of all losses.
        pub weight: f64 = 1.0,
    }
}

/// What a student learns from whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistilSpec {
    /// The teacher: a folder that [`Decoder::open`](headwise_models::decoder::Decoder::open) reads, or a GGUF file.
    pub teacher: String,
    /// What the student imitates of it.
    pub imitate: Vec<Imitation>,
    /// The weight of the run's own loss beside that.
    #[serde(default = "one")]
    pub targets: f64,
}

fn one() -> f64 {
    1.0
}

impl DistilSpec {
    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let weight = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(format!("{name}={value}: it must be a finite number and not below 0")),
        };
        weight("targets", self.targets)?;
        for imitation in &self.imitate {
            match imitation {
                Imitation::SoftTargets(SoftTargets { temperature, .. })
                    if !(temperature.is_finite() && *temperature > 0.0) =>
                {
                    return Err(format!("temperature={temperature}: it must be a finite number above 0"));
                }
                Imitation::SoftTargets(method) => weight("weight", method.weight)?,
                Imitation::HiddenStates(method) => weight("weight", method.weight)?,
            }
        }
        let names: Vec<&str> = self.imitate.iter().map(headwise_spec::Family::name).collect();
        match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            Some((_, name)) => Err(format!("`imitate` has `{name}` twice")),
            None if names.is_empty() => Err("`imitate` is empty: there is nothing to learn from the teacher".into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Imitation>();
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error = |text: &str| toml::from_str::<DistilSpec>(text).unwrap().check().unwrap_err();
        assert!(error("teacher = \"a\"\nimitate = []").contains("nothing to learn"));
        assert!(error("teacher = \"a\"\nimitate = [\"soft_targets\", \"soft_targets\"]").contains("twice"));
        assert!(error("teacher = \"a\"\nimitate = [\"soft_targets(temperature=0)\"]").contains("temperature=0"));
        assert!(error("teacher = \"a\"\nimitate = [\"hidden_states(weight=-1)\"]").contains("weight=-1"));
        assert!(error("teacher = \"a\"\nimitate = [\"hidden_states\"]\ntargets = inf").contains("targets=inf"));
    }
}
