//! Linear recurrences: the kernels against the composed form.

use crate::check::{check, check_half, values};
use burn::tensor::{DType, Device, Tensor, TensorData};
use headwise_ops::{Decay, Recurrence, linear_recurrence};
use proptest::prelude::*;

/// Which decay a case has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    Head,
    Token,
    Channel,
}

/// Sizes of one case.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    tokens: usize,
    key_dim: usize,
    value_dim: usize,
    kind: Kind,
    spec: Recurrence,
    offsets: Vec<usize>,
    /// Whether the sequences start from states that are given.
    starts: bool,
    /// The layout of a projection, `[batch, tokens, heads, width]`.
    by_token: bool,
}

impl Case {
    fn state(&self) -> [usize; 5] {
        let columns = self.value_dim + usize::from(self.spec.normalise);
        [self.batch, self.offsets.len() - 1, self.heads, self.key_dim, columns]
    }

    /// Query, key, value, then decay and states where there are any.
    fn inputs(&self, seed: u64) -> Vec<Vec<f64>> {
        let rows = self.batch * self.heads * self.tokens;
        let of_key = || values(seed, rows * self.key_dim, 1.0);
        // A normaliser divides by a sum that must stay away from zero.
        let positive = |x: Vec<f64>| match self.spec.normalise {
            true => x.into_iter().map(|x| x.abs() + 0.125).collect(),
            false => x,
        };
        let mut inputs = vec![positive(of_key()), positive(values(seed ^ 1, rows * self.key_dim, 1.0))];
        inputs.push(values(seed ^ 2, rows * self.value_dim, 1.0));
        let decays = match self.kind {
            Kind::None => None,
            Kind::Head => Some(self.heads),
            Kind::Token => Some(rows),
            Kind::Channel => Some(rows * self.key_dim),
        };
        inputs.extend(decays.map(|count| values(seed ^ 3, count, 0.5).into_iter().map(|x| -x.abs()).collect()));
        inputs.extend(self.starts.then(|| positive(values(seed ^ 4, self.state().iter().product(), 1.0))));
        inputs
    }

    fn run(&self, inputs: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
        let Self { batch, heads, tokens, key_dim, value_dim, .. } = *self;
        let split = |x: Tensor<1>, width: usize| match self.by_token {
            true => x.reshape([batch, tokens, heads, width]).swap_dims(1, 2),
            false => x.reshape([batch, heads, tokens, width]),
        };
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("an input");
        let (query, key, value) = (split(next(), key_dim), split(next(), key_dim), split(next(), value_dim));
        let decay = match self.kind {
            Kind::None => Decay::None,
            Kind::Head => Decay::Head(next()),
            Kind::Token => Decay::Token(split(next(), 1).squeeze_dim(3)),
            Kind::Channel => Decay::Channel(split(next(), key_dim)),
        };
        let state = self.starts.then(|| next().reshape(self.state()));
        let found = linear_recurrence(query, key, value, decay, &self.spec, &self.offsets, state);
        vec![found.output.reshape([-1]), found.state.reshape([-1])]
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = prop::sample::select(vec![Kind::None, Kind::Head, Kind::Token, Kind::Channel]);
    let sizes = (1usize..3, 1usize..3, 1usize..90, 1usize..7, 1usize..7);
    let cuts = prop::collection::vec(0.0f64..1.0, 0..3);
    (sizes, kinds, cuts, any::<[bool; 3]>()).prop_map(
        |((batch, heads, tokens, key_dim, value_dim), kind, cuts, flags)| {
            let [normalise, starts, by_token] = flags;
            let mut offsets: Vec<usize> = cuts.iter().map(|cut| (cut * tokens as f64) as usize).collect();
            offsets.extend([0, tokens]);
            offsets.sort_unstable();
            let spec = Recurrence { scale: 0.5, normalise };
            Case { batch, heads, tokens, key_dim, value_dim, kind, spec, offsets, starts, by_token }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn recurrences(seed: u64, case in cases()) {
        // A state that nothing reaches has no gradient where its sequence is empty, so only the output alone is left out.
        check(&|inputs| case.run(inputs), &case.inputs(seed));
    }
}

#[test]
fn halves_are_composed() {
    for kind in [Kind::None, Kind::Head, Kind::Token, Kind::Channel] {
        let case = Case {
            batch: 1,
            heads: 2,
            tokens: 20,
            key_dim: 4,
            value_dim: 3,
            kind,
            spec: Recurrence { scale: 0.5, normalise: false },
            offsets: vec![0, 7, 20],
            starts: true,
            by_token: true,
        };
        for (dtype, tolerance) in [(DType::F16, 2e-2), (DType::BF16, 1e-1)] {
            check_half(&|inputs| case.run(inputs), &case.inputs(5), dtype, tolerance);
        }
    }
}

#[test]
fn a_decay_of_minus_infinity_forgets() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F32, DType::F64] {
        for channels in [false, true] {
            let tensor = |seed, width: usize| {
                let data = TensorData::new(values(seed, 40 * width, 1.0), [1, 1, 40, width]);
                Tensor::<4>::from_data(data, (&device, dtype)).require_grad()
            };
            let (query, key, value) = (tensor(1, 3), tensor(2, 3), tensor(3, 2));
            let run = |from: usize, decay: f64| {
                let cut = |x: &Tensor<4>| x.clone().narrow(2, from, 40 - from);
                let tokens = 40 - from;
                let mut decays = vec![-0.1; tokens];
                decays[20 - from] = decay;
                let decays = TensorData::new(decays, [1, 1, tokens]);
                let decay = Tensor::<3>::from_data(decays, (&device, dtype));
                let decay = match channels {
                    true => Decay::Channel(decay.unsqueeze_dim::<4>(3).expand([1, 1, tokens, 3])),
                    false => Decay::Token(decay),
                };
                let spec = Recurrence { scale: 1.0, normalise: false };
                let found = linear_recurrence(cut(&query), cut(&key), cut(&value), decay, &spec, &[0, tokens], None);
                found.output.narrow(2, 20 - from, 20)
            };
            let (all, rest) = (run(0, f64::NEG_INFINITY), run(20, f64::NEG_INFINITY));
            let difference =
                (all.clone() - rest).abs().max().into_data().convert::<f64>().try_into_vec::<f64>().unwrap();
            assert!(difference[0] < 1e-6, "{dtype:?} {channels}: {difference:?}");
            let gradients = all.sum().backward();
            let early = key.grad(&gradients).expect("a gradient").narrow(2, 0, 20).abs().max();
            let early = early.into_data().convert::<f64>().try_into_vec::<f64>().unwrap();
            assert!(early[0] < 1e-30, "{dtype:?} {channels}: {early:?}");
        }
    }
}
