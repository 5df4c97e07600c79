//! Laws of the store, for every codec, against stores that are written out naively.

mod bytes;
mod definitions;
mod in_place;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::rope::{Scaling, inverse_frequencies};
use crate::simd::{Kernel, Level, dispatch_at};

type Pair = (Vec<f32>, Vec<f32>);

fn draw(slots: usize, head_dim: usize, value_dim: usize) -> Vec<Pair> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut draw = |n| (0..n).map(|_| rng.random_range(-2.0f32..2.0)).collect::<Vec<f32>>();
    (0..slots).map(|_| (draw(head_dim), draw(value_dim))).collect()
}

fn store(codec: Codec, pairs: &[Pair]) -> KeyValues {
    let mut store = KeyValues::new(codec, pairs[0].0.len(), pairs[0].1.len());
    for (position, (key, value)) in pairs.iter().enumerate() {
        store.append(key, value, position as i32 * 2);
    }
    store
}

fn read(store: &KeyValues, slot: usize) -> Pair {
    let (mut key, mut value) = (vec![f32::NAN; store.head_dim], vec![f32::NAN; store.value_dim]);
    store.read(slot, &mut key, &mut value);
    (key, value)
}

fn all(store: &KeyValues) -> Vec<Pair> {
    (0..store.len()).map(|slot| read(store, slot)).collect()
}

/// Whether a pair of the codec is coded without regard to its neighbours.
fn pairwise(codec: Codec) -> bool {
    codec.full_precision_window().is_none()
}

/// The largest error of a number in `-2..2`, from the definition of the codec, coded once.
fn tolerance(codec: Codec) -> f32 {
    match codec {
        Codec::F32 => 0.0,
        Codec::F16 => 2.0 / 2048.0,
        Codec::Bf16 => 2.0 / 256.0,
        Codec::Int8 => 2.0 / 127.0 / 2.0 * 1.0001,
        Codec::Int4 | Codec::Kivi4 => 4.0 / 15.0 / 2.0 * 1.002 + 2.0 / 2048.0,
        Codec::Kivi2 => 4.0 / 3.0 / 2.0 * 1.002 + 2.0 / 2048.0,
    }
}

#[track_caller]
fn assert_near(actual: &[Pair], expected: &[Pair], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (slot, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        for (a, b) in actual.0.iter().zip(&expected.0).chain(actual.1.iter().zip(&expected.1)) {
            assert!((a - b).abs() <= tolerance, "{what}, slot {slot}: {a} for {b}, tolerance {tolerance}");
        }
    }
}

#[test]
fn every_codec_returns_what_was_appended() {
    for codec in Codec::ALL {
        for (head_dim, value_dim) in [(64, 64), (24, 40), (1, 3), (80, 96)] {
            let pairs = draw(230, head_dim, value_dim);
            assert_near(&all(&store(codec, &pairs)), &pairs, tolerance(codec), codec.name());
        }
    }
}

#[test]
fn blocks_equal_single_reads() {
    struct Decode<'a>(&'a KeyValues, usize);
    impl Kernel for Decode<'_> {
        type Output = (Vec<f32>, Vec<f32>);
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut keys = vec![f32::NAN; self.0.head_dim * BLOCK];
            let mut values = vec![f32::NAN; self.0.value_dim * BLOCK];
            self.0.keys(s, self.1, &mut keys);
            self.0.values(s, self.1, &mut values);
            (keys, values)
        }
    }
    for codec in Codec::ALL {
        for (head_dim, value_dim, slots, left) in
            [(64, 32, 230, 230), (40, 24, 300, 107), (3, 50, 200, 40), (96, 80, 1, 1)]
        {
            let mut store = store(codec, &draw(slots, head_dim, value_dim));
            // For KIVI this cuts a settled page.
            store.truncate(left);
            for level in Level::available() {
                for block in 0..store.len().div_ceil(BLOCK) {
                    let (keys, values) = dispatch_at(level, Decode(&store, block));
                    for offset in 0..BLOCK {
                        let slot = block * BLOCK + offset;
                        let (key, value) =
                            if slot < left { read(&store, slot) } else { (vec![0.0; head_dim], vec![0.0; value_dim]) };
                        let column: Vec<f32> = (0..head_dim).map(|channel| keys[channel * BLOCK + offset]).collect();
                        assert_eq!(column, key, "{codec:?} {level:?} key {slot}");
                        assert_eq!(
                            &values[offset * value_dim..][..value_dim],
                            &value[..],
                            "{codec:?} {level:?} {slot}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn evicting_then_coding_equals_coding_then_evicting() {
    for codec in Codec::ALL {
        let pairs = draw(400, 64, 40);
        for keep in [
            (0..400).filter(|slot| slot % 3 == 1).collect::<Vec<u32>>(),
            (0..400).filter(|&slot| slot != 100).collect(),
            (0..4).chain(190..400).collect(),
            vec![],
            vec![399],
        ] {
            let mut compacted = store(codec, &pairs);
            let before = all(&compacted);
            compacted.compact(&keep);
            assert_eq!(compacted.positions(), keep.iter().map(|&slot| slot as i32 * 2).collect::<Vec<_>>());
            assert_eq!(compacted.len(), keep.len());
            let kept = |pairs: &[Pair]| keep.iter().map(|&slot| pairs[slot as usize].clone()).collect::<Vec<_>>();
            let after = all(&compacted);
            if pairwise(codec) {
                assert_eq!(after, kept(&before), "{codec}");
            } else {
                // Coded at most twice.
                assert_near(&after, &kept(&pairs), 2.0 * tolerance(codec), codec.name());
                let in_place = keep.iter().enumerate().take_while(|(slot, kept)| *slot == **kept as usize).count();
                let whole = in_place / PAGE * PAGE;
                assert_eq!(after[..whole], before[..whole], "{codec}: what does not move keeps its bits");
            }
            if keep.is_empty() {
                assert_eq!(compacted.bytes(), StoreBytes::default());
            } else {
                let mut fresh = store(codec, &kept(&pairs));
                assert_eq!(fresh.bytes(), compacted.bytes(), "{codec}");
                assert_near(&all(&fresh), &after, 3.0 * tolerance(codec), codec.name());
                fresh.compact(&[0]);
                assert_eq!(fresh.len(), 1);
            }
        }
    }
}

#[test]
fn a_page_cut_by_a_rollback_takes_new_pairs() {
    for codec in Codec::ALL {
        let pairs = draw(400, 40, 24);
        for left in [0, 1, 31, 32, 33, 100, 127, 128, 250, 390] {
            let mut rolled = store(codec, &pairs);
            let before = all(&rolled);
            rolled.truncate(left);
            assert_eq!(all(&rolled), before[..left], "{codec}: a rollback changes no pair");
            let new: Vec<Pair> = draw(700, 40, 24).split_off(400);
            let mut expected = pairs[..left].to_vec();
            for (at, (key, value)) in new.iter().enumerate() {
                rolled.append(key, value, 1000 + at as i32);
                expected.push((key.clone(), value.clone()));
                if at == 0 {
                    let tolerance = if pairwise(codec) { tolerance(codec) } else { tolerance(Codec::F16) };
                    assert_near(&all(&rolled)[left..], &expected[left..], tolerance, codec.name());
                }
            }
            assert_near(&all(&rolled), &expected, 2.0 * tolerance(codec), codec.name());
            assert_eq!(rolled.bytes(), store(codec, &expected).bytes(), "{codec}");
        }
    }
}

#[test]
fn a_fork_does_not_see_later_writes() {
    let rope = Rope::new(inverse_frequencies(16, 1e4, Scaling::None), 1.0, false);
    for codec in Codec::ALL {
        let mut changed = store(codec, &draw(300, 16, 16));
        let fork = changed.clone();
        let (before, positions, bytes) = (all(&fork), fork.positions().to_vec(), fork.bytes());
        changed.truncate(75);
        changed.append(&[1.5; 16], &[1.5; 16], 999);
        assert_near(&all(&changed)[75..], &[(vec![1.5; 16], vec![1.5; 16])], 0.01, codec.name());
        changed.make_consecutive(&rope, &[]);
        changed.compact(&[0, 2, 40, 75]);
        assert_eq!(changed.len(), 4);
        assert_eq!((all(&fork), fork.positions(), fork.bytes()), (before, &positions[..], bytes), "{codec}");
    }
}

#[test]
fn moved_keys_are_turned() {
    let rope = Rope::new(inverse_frequencies(64, 1e4, Scaling::None), 1.0, false);
    let layout = HeadLayout { row_stride: 64, heads: 1, head_dim: 64 };
    for codec in Codec::ALL {
        let pairs = draw(300, 64, 32);
        let mut moved = store(codec, &pairs);
        let before = all(&moved);
        let first: Vec<Vec<f32>> = pairs[..4].iter().map(|(key, _)| key.clone()).collect();
        moved.make_consecutive(&rope, &first);
        assert_eq!(moved.positions(), (598 - 299..=598).collect::<Vec<i32>>());
        let mut expected = pairs.clone();
        for (slot, (key, _)) in expected.iter_mut().enumerate() {
            let target = 299 + slot as i32;
            rope.rotate_by(key, layout, 1, if slot < 4 { target } else { target - slot as i32 * 2 });
        }
        // A turned channel is as large as √2 times the largest, the error of two codings likewise.
        assert_near(&all(&moved), &expected, 2.0 * std::f32::consts::SQRT_2 * tolerance(codec) + 1e-5, codec.name());
        let values = |pairs: &[Pair]| pairs.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&all(&moved)), values(&before), "{codec}: values keep their bits");
        assert_eq!(moved.bytes(), store(codec, &pairs).bytes(), "{codec}");
    }
}

#[test]
fn pushed_rows_stay_uncoded_until_they_have_attended() {
    let pairs = draw(300, 32, 32);
    let mut chunk = KeyValues::new(Codec::Kivi2, 32, 32);
    for (position, (key, value)) in pairs.iter().enumerate() {
        chunk.push(key, value, position as i32 * 2);
    }
    assert_eq!(all(&chunk), all(&store(Codec::F16, &pairs)));
    chunk.settle();
    let appended = store(Codec::Kivi2, &pairs);
    assert_eq!((all(&chunk), chunk.bytes()), (all(&appended), appended.bytes()));
}

#[test]
fn nothing_becomes_nan() {
    let extremes = [1e4, -1e4, 7e4, f32::MAX, -f32::MAX, 1e-30, 0.0, -0.0, f32::MIN_POSITIVE / 8.0];
    for codec in Codec::ALL {
        for slots in [1, 32, 40, 200] {
            let pairs: Vec<Pair> = (0..slots)
                .map(|slot| {
                    let pick = |at: usize| extremes[(slot * 5 + at * at) % extremes.len()];
                    ((0..40).map(pick).collect(), (1..25).map(pick).collect())
                })
                .collect();
            let mut store = store(codec, &pairs);
            for keep in [slots as u32, slots as u32 / 2] {
                store.compact(&(0..keep).rev().take(150).rev().collect::<Vec<u32>>());
                for (key, value) in all(&store) {
                    assert!(key.iter().chain(&value).all(|x| !x.is_nan()), "{codec}");
                }
            }
        }
    }
}

#[test]
fn random_histories_agree_with_a_plain_list() {
    let pairs = draw(3000, 24, 40);
    for codec in Codec::ALL {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut next = pairs.iter().zip(0..).cycle();
        let mut store = KeyValues::new(codec, 24, 40);
        let mut list: Vec<(&Pair, i32)> = Vec::new();
        for step in 0..60 {
            match rng.random_range(0..5) {
                0 => {
                    let left = rng.random_range(0..=list.len()).max(list.len().saturating_sub(50));
                    store.truncate(left);
                    list.truncate(left);
                }
                1 => {
                    let keep: Vec<u32> = (0..list.len() as u32).filter(|_| rng.random_range(0..8) > 0).collect();
                    store.compact(&keep);
                    list = keep.iter().map(|&slot| list[slot as usize]).collect();
                }
                _ => {
                    for (pair, position) in next.by_ref().take(rng.random_range(1..60)) {
                        store.append(&pair.0, &pair.1, position);
                        list.push((pair, position));
                    }
                }
            }
            assert_eq!(
                store.positions(),
                list.iter().map(|&(_, position)| position).collect::<Vec<_>>(),
                "{codec} {step}"
            );
            let mut counted = StoreBytes { positions: 4 * list.len(), ..StoreBytes::default() };
            store.pages.iter().enumerate().for_each(|(index, page)| counted += page.bytes(store.used(index)));
            assert_eq!(store.bytes(), counted, "{codec} {step}");
            if pairwise(codec) {
                let expected: Vec<Pair> = list.iter().map(|&(pair, _)| pair.clone()).collect();
                assert_near(&all(&store), &expected, tolerance(codec), codec.name());
            } else {
                let recent = list.len() - list.len().min(128);
                assert!(store.settled * PAGE >= recent / PAGE * PAGE, "{codec} {step}");
                for (key, value) in all(&store) {
                    assert!(key.iter().chain(&value).all(|x| x.abs() <= 2.1), "{codec}: outside what was appended");
                }
            }
        }
    }
}

/// Root mean square errors of keys and values in settled pages; `sources` are the pairs that the slots were.
fn settled_errors(store: &KeyValues, pairs: &[Pair], sources: &[usize]) -> (f64, f64) {
    let square = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let slots = store.settled * PAGE;
    let (mut key, mut value) = (0.0, 0.0);
    for (slot, &source) in sources.iter().enumerate().take(slots) {
        let (k, v) = read(store, slot);
        key += square(&k, &pairs[source].0);
        value += square(&v, &pairs[source].1);
    }
    let root = |sum: f64, width: usize| (sum / (slots * width) as f64).sqrt();
    (root(key, store.head_dim), root(value, store.value_dim))
}

#[test]
fn evicting_one_pair_at_a_time_adds_little_error() {
    let pairs = draw(600, 64, 64);
    for codec in [Codec::Kivi4, Codec::Kivi2] {
        let mut store = store(codec, &pairs);
        let mut left: Vec<usize> = (0..600).collect();
        let (key, value) = settled_errors(&store, &pairs, &left);
        for step in 0..200 {
            let gone = step * 7919 % left.len();
            let keep: Vec<u32> = (0..left.len() as u32).filter(|&slot| slot as usize != gone).collect();
            store.compact(&keep);
            left.remove(gone);
        }
        let (key_after, value_after) = settled_errors(&store, &pairs, &left);
        // Coding a value again finds the same levels; a key gets new neighbours and with them new levels.
        assert!(value_after < 1.02 * value, "{codec}: {value} -> {value_after}");
        assert!(key_after < 2.5 * key, "{codec}: {key} -> {key_after}");
    }
}
