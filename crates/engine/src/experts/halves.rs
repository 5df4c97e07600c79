//! Texts of two adjacent batches, regrouped so that each batch passes few experts: balanced 2-medoids over routing paths.
//!
//! Two medoids are drawn. Every text goes to the one whose path is more like its own; a batch that has more than its half keeps those most
//! like its medoid. The text that is most like all others of its batch is the next medoid, until nothing changes. The published scheduler
//! fills a short batch by the similarity to a text of the same number as the batch; here it is that to the batch's medoid, as meant.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Path, active_experts};

/// Most rounds of assigning texts.
const ROUNDS: usize = 30;

/// The texts of `paths` in two batches, whose sizes differ by at most one, each ascending; the first is the larger. Neither is empty from
/// two texts on.
pub fn halves(paths: &[Path], seed: u64) -> [Vec<usize>; 2] {
    let count = paths.len();
    if count < 2 {
        return [(0..count).collect(), Vec::new()];
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let first = random.random_range(0..count);
    let second = (first + random.random_range(1..count)) % count;
    let mut medoids = [first, second];
    let mut batches = assigned(paths, medoids);
    for _ in 1..ROUNDS {
        medoids = [medoid(paths, &batches[0]), medoid(paths, &batches[1])];
        let next = assigned(paths, medoids);
        if next == batches {
            break;
        }
        batches = next;
    }
    batches
}

/// Every text with the medoid that it is more like, as far as its half has room.
fn assigned(paths: &[Path], medoids: [usize; 2]) -> [Vec<usize>; 2] {
    let half = paths.len().div_ceil(2);
    let like = |text: usize, batch: usize| paths[text].similarity(&paths[medoids[batch]]);
    let (first, second): (Vec<usize>, Vec<usize>) = (0..paths.len()).partition(|&text| like(text, 0) >= like(text, 1));
    let mut batches = [first, second];
    let larger = usize::from(batches[1].len() > batches[0].len());
    batches[larger].sort_by(|&a, &b| like(b, larger).total_cmp(&like(a, larger)).then(a.cmp(&b)));
    let most = half.min(batches[larger].len());
    let rest = batches[larger].split_off(most);
    batches[1 - larger].extend(rest);
    batches.swap(0, larger);
    batches.iter_mut().for_each(|batch| batch.sort_unstable());
    batches
}

/// The text of `batch` that is most like all of it.
fn medoid(paths: &[Path], batch: &[usize]) -> usize {
    let sum = |text: usize| batch.iter().map(|&other| paths[text].similarity(&paths[other])).sum::<f64>();
    // The first among equals, so that the same paths give the same batches.
    let better = |best: usize, text: usize| if sum(text) > sum(best) { text } else { best };
    batch.iter().copied().reduce(better).unwrap_or(0)
}

/// `found`, unless the texts as they came, the first half and the second, pass no more experts.
pub fn keep_if_better(paths: &[Path], found: [Vec<usize>; 2]) -> [Vec<usize>; 2] {
    let half = paths.len().div_ceil(2);
    let came = [(0..half).collect(), (half..paths.len()).collect()];
    if active_experts(paths, &found) < active_experts(paths, &came) { found } else { came }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(experts: &[usize]) -> Path {
        let mut path = Path::new(1, 16);
        experts.iter().for_each(|&expert| path.insert(0, expert));
        path
    }

    #[test]
    fn texts_of_a_kind_are_put_together() {
        let [a, b] = [path(&[0, 1, 2]), path(&[8, 9, 10])];
        let mixed = [&a, &b, &b, &a, &a, &b].map(Clone::clone);
        // Medoids of one kind can be drawn; not from every seed.
        let apart = |seed: u64| {
            let found = halves(&mixed, seed);
            found == [vec![0, 3, 4], vec![1, 2, 5]] || found == [vec![1, 2, 5], vec![0, 3, 4]]
        };
        assert!((0..20).filter(|&seed| apart(seed)).count() >= 15);
        assert_eq!(halves(&mixed, 4), halves(&mixed, 4));
    }

    #[test]
    fn equal_texts_make_two_batches_all_the_same() {
        for count in 2..9 {
            let found = halves(&vec![path(&[1]); count], 3);
            assert_eq!(found.each_ref().map(Vec::len), [count.div_ceil(2), count / 2]);
        }
        assert_eq!(halves(&[path(&[1])], 0), [vec![0], Vec::new()]);
        assert!(halves(&[], 0).iter().all(Vec::is_empty));
    }

    #[test]
    fn batches_that_are_no_better_are_left_as_they_came() {
        let [a, b] = [path(&[0, 1]), path(&[8, 9])];
        let sorted = [&a, &a, &b, &b].map(Clone::clone);
        assert_eq!(keep_if_better(&sorted, [vec![0, 2], vec![1, 3]]), [vec![0, 1], vec![2, 3]]);
        let mixed = [&a, &b, &a, &b].map(Clone::clone);
        assert_eq!(keep_if_better(&mixed, [vec![0, 2], vec![1, 3]]), [vec![0, 2], vec![1, 3]]);
    }

    proptest! {
        #[test]
        fn batches_are_balanced_and_have_every_text_once(
            texts in prop::collection::vec(prop::collection::vec(0usize..16, 0..5), 0..20), seed in any::<u64>(),
        ) {
            let paths: Vec<Path> = texts.iter().map(|experts| path(experts)).collect();
            let [first, second] = halves(&paths, seed);
            prop_assert!(first.len() - second.len() <= 1);
            let mut all = [first, second].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..paths.len()).collect::<Vec<_>>());
        }
    }
}
