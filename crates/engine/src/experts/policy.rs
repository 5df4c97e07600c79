//! What is held of experts that stay in their file.

use headwise_models::decoder::ExpertFile;

use super::ExpertsError;

headwise_spec::family! {
    /// What is held in memory of experts that stay in the model's file.
    pub enum ExpertPolicy: "experts" {
        on_demand => OnDemand,
        lru => Lru,
        next_gate => NextGate,
        expertflow => ExpertFlow,
    }
}

headwise_spec::method! {
    /// Experts are read when a layer needs them, and let go when it has used them.
    ///
    /// The baseline of ExpertFlow, He et al. 2024, arXiv:2410.17954.
    pub struct OnDemand {}
}

headwise_spec::method! {
    /// Every layer holds the experts that it used last.
    ///
    /// Slots are shared out evenly over the layers: as layers come round in turn, one list for all would hold those that are needed last.
    pub struct Lru {
        /// Share of all experts that memory holds.
        pub capacity: f64 = 0.25,
    }
}

headwise_spec::method! {
    /// Reads ahead what the next layer's router would choose for what this layer reads.
    ///
    /// The stream changes little from layer to layer. Eliseev and Mazur 2023, arXiv:2312.17238.
    pub struct NextGate {
        /// Share of all experts that memory holds.
        pub capacity: f64 = 0.25,
    }
}

headwise_spec::method! {
    /// A small network foresees the experts of all layers from the tokens; slots go to the layers in proportion to what they will need.
    ///
    /// Slots of a layer that is done go to later ones, and experts that were foreseen and not needed leave first. Texts of two batches that
    /// foresee similar experts are put together. He et al. 2024, arXiv:2410.17954.
    pub struct ExpertFlow {
        /// Share of all experts that memory holds.
        pub capacity: f64 = 0.25,
        /// Probability from which on an expert is expected, besides as many of the likeliest in every layer as a token passes.
        pub cut: f64 = 0.5,
        /// Texts of two batches are regrouped.
        pub schedule: bool = true,
        /// Seed of the network's weights and of the groups.
        pub seed: u64 = 0,
    }
}

impl ExpertPolicy {
    /// The share of all experts that memory holds; none if nothing stays.
    pub fn capacity(&self) -> Option<f64> {
        match self {
            Self::OnDemand(_) => None,
            Self::Lru(Lru { capacity })
            | Self::NextGate(NextGate { capacity })
            | Self::ExpertFlow(ExpertFlow { capacity, .. }) => Some(*capacity),
        }
    }

    /// Whether the parameters make sense.
    pub fn check(&self) -> Result<(), ExpertsError> {
        if let Some(capacity) = self.capacity().filter(|capacity| !(*capacity > 0.0 && *capacity <= 1.0)) {
            return Err(ExpertsError::Capacity { policy: self.to_string(), capacity });
        }
        match self {
            Self::ExpertFlow(ExpertFlow { cut, .. }) if !(*cut > 0.0 && *cut < 1.0) => {
                Err(ExpertsError::Cut { policy: self.to_string(), cut: *cut })
            }
            _ => Ok(()),
        }
    }

    /// Bytes that experts of `file` may take together. `at_once` are loaded at the same time if nothing stays.
    pub(super) fn bytes(&self, file: &ExpertFile, at_once: usize) -> Result<usize, ExpertsError> {
        self.check()?;
        let (total, least) = (file.total_bytes(), (0..file.layers()).map(|layer| file.bytes(layer)).max().unwrap_or(0));
        let Some(capacity) = self.capacity() else { return Ok(least * at_once) };
        // A share that is meant to be whole experts is, whatever the rounding.
        let bytes = (capacity * total as f64 * (1.0 + 1e-9)) as usize;
        if bytes < least {
            let share = least as f64 / total.max(1) as f64;
            // Four digits are printed: the last is rounded up.
            let share = (share * 1e4).ceil() / 1e4;
            return Err(ExpertsError::NoRoom { policy: self.to_string(), capacity, bytes, least, share });
        }
        Ok(bytes.min(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<ExpertPolicy>();
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let wrong = |text: &str| {
            let policy: ExpertPolicy = headwise_spec::from_text(text).unwrap();
            policy.check().unwrap_err().to_string()
        };
        assert!(wrong("lru(capacity=0)").contains("capacity=0"));
        assert!(wrong("next_gate(capacity=1.5)").contains("at most 1"));
        assert!(wrong("expertflow(capacity=-1)").contains("above 0"));
        assert!(wrong("expertflow(cut=1)").contains("cut=1"));
    }
}
