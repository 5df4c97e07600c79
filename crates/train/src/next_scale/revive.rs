//! Codes that nothing is nearest to learn nothing; they begin anew where something was.

use burn::module::Param;
use burn::tensor::Tensor;
use headwise_models::next_scale::Quantiser;
use headwise_ops::host::{self, Host};
use rand::RngExt;

/// Steps between two looks.
const EVERY: u64 = 20;
/// The share of a run after which codes stay what they are.
const SETTLED: f64 = 0.7;

/// How often each code was taken since the last look.
pub(super) struct Usage {
    taken: Vec<u64>,
}

impl Usage {
    pub fn new(codes: usize) -> Self {
        Self { taken: vec![0; codes] }
    }

    pub fn count(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&token| self.taken[token as usize] += 1);
    }

    /// Puts codes that were not taken among `cells` `[cells, channels]`, when it is time.
    pub fn revive(
        &mut self,
        mut quantiser: Quantiser,
        cells: &[f32],
        step: u64,
        steps: u64,
        random: &mut impl RngExt,
    ) -> Quantiser {
        if !(step + 1).is_multiple_of(EVERY) && step > 0 || step as f64 > SETTLED * steps as f64 {
            return quantiser;
        }
        let taken = std::mem::take(&mut self.taken);
        self.taken = vec![0; taken.len()];
        if taken.iter().all(|&count| count > 0) {
            return quantiser;
        }
        let codebook = quantiser.codebook.val();
        let ([codes, channels], device) = (codebook.dims(), codebook.device());
        let mut values = Host::new(codebook).as_slice().to_vec();
        for (code, _) in taken.iter().enumerate().filter(|&(_, &count)| count == 0) {
            let cell = random.random_range(0..cells.len() / channels) * channels;
            values[code * channels..][..channels].copy_from_slice(&cells[cell..cell + channels]);
        }
        let codebook: Tensor<2> = host::tensor(values, [codes, channels], &device);
        quantiser.codebook = Param::initialized(quantiser.codebook.id, codebook.require_grad());
        quantiser
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::next_scale::NextScaleSpec;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn only_codes_that_were_not_taken_move_and_only_to_cells() {
        let spec = NextScaleSpec { codes: 4, channels: 2, ..NextScaleSpec::micro(&[1, 2], 1) };
        let quantiser = Quantiser::random(&spec, &Device::flex().autodiff());
        let before = Host::new(quantiser.codebook.val()).as_slice().to_vec();
        let mut usage = Usage::new(4);
        usage.count(&[0, 0, 2]);
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let after = usage.revive(quantiser, &[7.0, 8.0], EVERY - 1, 100, &mut random);
        let after = Host::new(after.codebook.val()).as_slice().to_vec();
        assert_eq!(after, [before[0], before[1], 7.0, 8.0, before[4], before[5], 7.0, 8.0]);
    }
}
