//! Resizing square maps: the mean over areas, and bicubic interpolation, as matrices.
//!
//! A resize is linear, so it is a matrix per side that rows and columns share. One matrix serves training and drawing, which must
//! agree to the bit. Areas are those of adaptive average pooling, `⌊i n / m⌋ .. ⌈(i + 1) n / m⌉`; the cubic has `a = -0.75`, centres of
//! pixels are aligned, and what lies outside repeats the border.

use burn::tensor::{Device, Tensor};
use headwise_ops::host;

/// The parameter of the cubic.
const A: f64 = -0.75;

/// Rows of weights: `[to, from]`.
type Weights = Vec<Vec<f64>>;

/// From maps of `from` × `from` to `to` × `to`, the mean over areas: `[from², to²]`, to be multiplied from the right.
pub fn area(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let row = |i: usize| {
        let covered = i * from / to..((i + 1) * from).div_ceil(to);
        (0..from).map(|j| if covered.contains(&j) { 1.0 / covered.len() as f64 } else { 0.0 }).collect()
    };
    both_sides(&(0..to).map(row).collect(), from, to, device)
}

/// From maps of `from` × `from` to `to` × `to` by bicubic interpolation: `[from², to²]`, to be multiplied from the right.
pub fn bicubic(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let row = |i: usize| {
        let place = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let first = place.floor();
        let mut weights = vec![0.0; from];
        for offset in -1..=2 {
            let at = first + f64::from(offset);
            let inside = at.clamp(0.0, from as f64 - 1.0) as usize;
            weights[inside] += cubic((place - at).abs());
        }
        weights
    };
    both_sides(&(0..to).map(row).collect(), from, to, device)
}

/// The weight of a sample at `distance`.
fn cubic(distance: f64) -> f64 {
    let x = distance;
    match x {
        _ if x <= 1.0 => (A + 2.0) * x.powi(3) - (A + 3.0) * x.powi(2) + 1.0,
        _ if x < 2.0 => A * (x.powi(3) - 5.0 * x.powi(2) + 8.0 * x - 4.0),
        _ => 0.0,
    }
}

/// Weights of rows and columns together.
fn both_sides(side: &Weights, from: usize, to: usize, device: &Device) -> Tensor<2> {
    let weight = |pixel: usize, at: usize| side[at / to][pixel / from] * side[at % to][pixel % from];
    let values = (0..from * from).flat_map(|pixel| (0..to * to).map(move |at| weight(pixel, at) as f32)).collect();
    host::tensor(values, [from * from, to * to], device)
}

#[cfg(test)]
mod tests {
    use headwise_ops::host::Host;

    use super::*;

    fn apply(matrix: Tensor<2>, values: &[f32]) -> Vec<f32> {
        let values = host::tensor(values.to_vec(), [1, values.len()], &Device::flex());
        Host::new(values.matmul(matrix)).as_slice().to_vec()
    }

    #[test]
    fn areas_are_means_and_overlap_where_they_do_not_fit() {
        let map: Vec<f32> = (0..16).map(|x| x as f32).collect();
        let device = Device::flex();
        assert_eq!(apply(area(4, 1, &device), &map), [7.5]);
        assert_eq!(apply(area(4, 2, &device), &map), [2.5, 4.5, 10.5, 12.5]);
        // Three areas of two rows each: 0 and 1, 1 and 2, 2 and 3.
        assert_eq!(apply(area(4, 3, &device), &map)[..3], [2.5, 3.5, 4.5]);
    }

    #[test]
    fn bicubic_keeps_constants_and_the_same_size_and_follows_the_cubic() {
        let device = Device::flex();
        let map: Vec<f32> = (0..16).map(|x| (x * x % 7) as f32).collect();
        assert_eq!(apply(bicubic(4, 4, &device), &map), map);
        for (from, to) in [(1, 8), (2, 8), (3, 4), (6, 8)] {
            let constant = apply(bicubic(from, to, &device), &vec![3.0; from * from]);
            assert!(constant.iter().all(|value| (value - 3.0).abs() < 1e-5), "{constant:?}");
        }
        // At a quarter of the way from the first of two pixels to the border: cubic(0.25), cubic(0.75) and the repeated border.
        let doubled = apply(bicubic(2, 4, &device), &[0.0, 1.0, 0.0, 1.0]);
        let second = (cubic(0.75) + cubic(1.75)) as f32;
        assert!((doubled[1] - second).abs() < 1e-6 && (doubled[2] - (1.0 - second)).abs() < 1e-6, "{doubled:?}");
    }
}
