//! All keys and values of a head, for scores that look at every one of them.

use headwise_kernels::attention::{BLOCK, KeyValueBlocks};
use headwise_kernels::kv::KeyValues;
use headwise_kernels::simd::{Kernel, Simd, dispatch};

/// The keys and the values of `pairs`, `[slots, head_dim]` each.
pub(crate) fn read(pairs: &KeyValues, head_dim: usize) -> (Vec<f32>, Vec<f32>) {
    dispatch(Read { pairs, head_dim })
}

struct Read<'a> {
    pairs: &'a KeyValues,
    head_dim: usize,
}

impl Kernel for Read<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let Self { pairs, head_dim } = self;
        let blocks = pairs.len().div_ceil(BLOCK);
        let mut keys = vec![0.0; blocks * BLOCK * head_dim];
        let mut values = keys.clone();
        // Keys come transposed, `[head_dim, BLOCK]`.
        let mut columns = vec![0.0; head_dim * BLOCK];
        let rows = keys.chunks_exact_mut(BLOCK * head_dim).zip(values.chunks_exact_mut(BLOCK * head_dim));
        for (block, (keys, values)) in rows.enumerate() {
            pairs.values(s, block, values);
            pairs.keys(s, block, &mut columns);
            for (slot, key) in keys.chunks_exact_mut(head_dim).enumerate() {
                key.iter_mut().zip(columns[slot..].iter().step_by(BLOCK)).for_each(|(x, column)| *x = *column);
            }
        }
        keys.truncate(pairs.len() * head_dim);
        values.truncate(pairs.len() * head_dim);
        (keys, values)
    }
}

#[cfg(test)]
mod tests {
    use headwise_kernels::kv::Codec;

    use super::*;

    #[test]
    fn every_slot_is_read_as_the_store_reads_it() {
        for codec in Codec::ALL {
            let mut pairs = KeyValues::new(codec, 6, 6);
            for slot in 0..BLOCK as i32 + 40 {
                let row: Vec<f32> = (0..6).map(|channel| ((slot * 6 + channel) as f32).sin()).collect();
                pairs.append(&row, &row.iter().map(|x| x * 3.0).collect::<Vec<_>>(), slot);
            }
            let (keys, values) = read(&pairs, 6);
            assert_eq!(keys.len(), pairs.len() * 6);
            let (mut key, mut value) = ([0.0; 6], [0.0; 6]);
            for slot in 0..pairs.len() {
                pairs.read(slot, &mut key, &mut value);
                assert_eq!(
                    (&keys[slot * 6..][..6], &values[slot * 6..][..6]),
                    (&key[..], &value[..]),
                    "{codec} {slot}"
                );
            }
        }
    }
}
