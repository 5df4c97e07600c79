//! One token of every row: the recurrence itself.

use super::forward::EPSILON;
use super::inputs::{Decay, Dims, Inputs, Recurrence};
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Elements of states that make a part of their own worthwhile.
const PART: usize = 1 << 15;

/// Takes one token of each row of the batch into its states `[batch, heads, key_dim, columns]`, and writes
/// `out [batch, heads, value_dim]`. The token is the only one of `inputs`, whose own states and offsets are not read.
///
/// The bits of a row do not depend on the other rows.
///
/// # Panics
/// If `dims` has not one token, or a slice not the length that it states.
pub fn step(spec: &Recurrence, dims: &Dims, inputs: &Inputs<'_>, states: &mut [f32], out: &mut [f32]) {
    let inputs = Inputs { offsets: &[0, 1], state: None, ..*inputs };
    assert_eq!(dims.tokens, 1, "one token");
    inputs.check(spec, dims);
    assert_eq!(out.len(), dims.output(), "elements of the output");
    assert_eq!(states.len(), inputs.states(spec, dims), "elements of the states");
    let (length, count) = (dims.state(spec), dims.batch * dims.heads);
    let _span = profile::span("linear recurrence, step").work(|| {
        let elements = (count * length) as f64;
        Work { flops: 5.0 * elements, bytes: 2.0 * size_of::<f32>() as f64 * elements }
    });
    let together = (PART / length.max(1)).max(1);
    let (states, out) = (Disjoint::new(states), Disjoint::new(out));
    parallel::parts(count.div_ceil(together), |part| {
        for state in part * together..((part + 1) * together).min(count) {
            let (batch, head) = (state / dims.heads, state % dims.heads);
            // SAFETY: a part owns its states and their outputs, whose lengths were checked above.
            let (state, out) =
                unsafe { (states.range(state * length, length), out.range(state * dims.value_dim, dims.value_dim)) };
            dispatch(Token { spec, dims, inputs: &inputs, batch, head, state, out });
        }
    });
}

/// One token of one head.
struct Token<'a> {
    spec: &'a Recurrence,
    dims: &'a Dims,
    inputs: &'a Inputs<'a>,
    batch: usize,
    head: usize,
    state: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Token<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { spec, dims, inputs, batch, head, state, out } = self;
        let query = inputs.query.row(batch, head, 0, dims.key_dim);
        let key = inputs.key.row(batch, head, 0, dims.key_dim);
        let value = inputs.value.row(batch, head, 0, dims.value_dim);
        let factor = |channel: usize| match &inputs.decay {
            Decay::None => 1.0,
            Decay::Head(decays) => decays[head].exp(),
            Decay::Token(view) => view.row(batch, head, 0, 1)[0].exp(),
            Decay::Channel(view) => view.row(batch, head, 0, dims.key_dim)[channel].exp(),
        };
        out.fill(0.0);
        let mut divisor = EPSILON;
        let columns = dims.columns(spec);
        for (channel, state) in state.chunks_exact_mut(columns.max(1)).take(dims.key_dim).enumerate() {
            let (factor, query) = (factor(channel), spec.scale * query[channel]);
            let (values, sum) = state.split_at_mut(dims.value_dim);
            for at in (0..values.len()).step_by(LANES) {
                let decayed = s.mul(s.read(values, at, 0.0), s.splat(factor));
                let next = s.fma(s.splat(key[channel]), s.read(value, at, 0.0), decayed);
                s.write(values, at, next);
                s.write(out, at, s.fma(s.splat(query), next, s.read(out, at, 0.0)));
            }
            if let [sum] = sum {
                *sum = *sum * factor + key[channel];
                divisor += query * *sum;
            }
        }
        if spec.normalise {
            out.iter_mut().for_each(|value| *value /= divisor);
        }
    }
}
