//! The weights that training starts from.

mod from_model;
mod gap_heads;
mod induction_heads;
mod weights;

use burn::tensor::Device;
use headwise_models::decoder::Decoder;

pub use from_model::FromModel;
pub use gap_heads::GapHeads;
pub use induction_heads::InductionHeads;

headwise_spec::family! {
    /// The weights that training starts from.
    pub enum StartSpec: "start" {
        drawn => Drawn,
        induction_heads => InductionHeads,
        gap_heads => GapHeads,
        from_model => FromModel,
    }
}

headwise_spec::method! {
    /// Every weight is drawn at random.
    pub struct Drawn {}
}

impl Default for StartSpec {
    fn default() -> Self {
        Drawn {}.into()
    }
}

impl StartSpec {
    /// `model`, drawn at random, with the weights that training starts from.
    pub fn apply(&self, model: Decoder, device: &Device) -> Result<Decoder, String> {
        match self {
            Self::Drawn(_) => Ok(model),
            Self::InductionHeads(start) => start.apply(model, device),
            Self::GapHeads(start) => start.apply(model, device),
            Self::FromModel(start) => start.apply(model, device),
        }
    }

    /// The path of the files that it reads.
    pub fn path(&mut self) -> Option<&mut String> {
        match self {
            Self::FromModel(start) => Some(&mut start.path),
            Self::Drawn(_) | Self::InductionHeads(_) | Self::GapHeads(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use headwise_nn::mixer::Segment;
    use headwise_ops::host::{Host, contiguous};

    use super::*;
    use crate::model::draw;

    /// The model of a description, as `start` leaves it.
    pub fn started(text: &str, start: &StartSpec) -> Result<Decoder, String> {
        let device = Device::flex().autodiff();
        let model = draw(toml::from_str(text).unwrap(), 3, &device).unwrap();
        start.apply(model, &device)
    }

    /// The token that the model finds most likely after `ids`.
    pub fn next(model: &Decoder, ids: &[u32]) -> u32 {
        likeliest_two(model, ids)[0]
    }

    /// The two tokens that the model finds most likely after `ids`, the likelier first.
    pub fn likeliest_two(model: &Decoder, ids: &[u32]) -> [u32; 2] {
        let positions: Vec<i32> = (0..ids.len() as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
        let hidden = model.hidden(ids, &positions, &segments, &Device::flex().autodiff());
        let scores = Host::new(contiguous(hidden.matmul(model.classifier().transpose()).inner())).as_slice().to_vec();
        let last = &scores[scores.len() - model.spec().vocabulary..];
        let mut order: Vec<u32> = (0..last.len() as u32).collect();
        order.sort_by(|&a, &b| last[b as usize].total_cmp(&last[a as usize]));
        [order[0], order[1]]
    }

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<StartSpec>();
    }
}
