//! GPTQ: weights are rounded one input after the other, and what rounding loses is made up for by the weights that follow.
//!
//! With the second moments `H = XᵀX` of what a layer reads, the error of its outputs is `(w - q)ᵀ H (w - q)` for each row `w`. With
//! `H = R Rᵀ`, `R` upper triangular, this is `Σ_i R[i, i]² (w_i - q_i + Σ_{j<i} C[i, j] (w_j - q_j))²`, `C[i, j] = R[j, i] / R[i, i]`: so
//! input `i` is rounded not from `w_i` but from `w_i + Σ_{j<i} C[i, j] (w_j - q_j)`. That is what GPTQ does with the Cholesky factor of
//! `H⁻¹`, whose inverse is `R`, without an inverse. Frantar et al. 2023, arXiv:2210.17323.

use burn::tensor::Tensor;
use headwise_kernels::parallel;
use headwise_ops::host::Host;

use super::factor::feedback;
use super::matrix::Matrix;
use super::quantisation::Grids;
use super::rtn::store;
use crate::decoder::Encoded;
use crate::gguf::quantise::{BLOCK, Grid};

headwise_spec::method! {
    /// Rounds weights one input after the other; later ones make up for what earlier ones lost.
    ///
    /// Needs a calibration text. Grids are those of `rtn`, each found when its first input is reached. Frantar et al. 2023,
    /// arXiv:2210.17323.
    pub struct Gptq {
        /// Bits of a weight, 2 to 8.
        pub bits: u32 = 4,
        /// Weights of a row that share a scale, a multiple of 32; 0 is the whole row.
        pub group: usize = 32,
        /// Grids lie around zero; else each has a minimum too (up to 5 bits).
        pub symmetric: bool = true,
        /// Added to the diagonal of the second moments, as a share of its mean.
        pub damp: f64 = 0.01,
    }
}

/// Times that damping is made ten times larger before giving up.
const ATTEMPTS: usize = 4;

/// Rows of a matrix that are rounded together.
const LANES: usize = 16;

/// The matrix on its grids, for inputs with the second moments `gram` `[inputs, inputs]`; none if these are of no use.
pub(super) fn encode(matrix: &Matrix, grids: Grids, gram: Tensor<2>, damp: f64) -> Option<Encoded> {
    let n = matrix.inputs;
    let moments: Vec<f64> = Host::new(gram).as_slice().iter().map(|&value| f64::from(value)).collect();
    let mean = (0..n).map(|i| moments[i * n + i]).sum::<f64>() / n as f64;
    // Inputs that are always zero say nothing: any scale does.
    let scale = if mean > 0.0 { mean } else { 1.0 };
    let feedback = (0..ATTEMPTS).find_map(|attempt| {
        let mut damped = moments.clone();
        (0..n).for_each(|i| damped[i * n + i] += damp * scale * 10f64.powi(attempt as i32));
        feedback(damped, n)
    })?;
    let row_bytes = n / BLOCK * grids.ty.block_bytes();
    let mut bytes = vec![0; matrix.values.len() / n * row_bytes];
    parallel::pieces(&mut bytes, LANES * row_bytes, |part, out| {
        let rows = &matrix.values[part * LANES * n..][..out.len() / row_bytes * n];
        round_rows(rows, n, grids, &feedback, out);
    });
    Some(Encoded { ty: grids.ty, bytes })
}

/// At most [`LANES`] rows of `n` weights.
fn round_rows(rows: &[f32], n: usize, grids: Grids, feedback: &[f32], out: &mut [u8]) {
    let count = rows.len() / n;
    let row_bytes = out.len() / count;
    let length = grids.group(n);
    // What rounding lost, `[input][row]`.
    let mut lost = vec![[0.0f32; LANES]; n];
    for start in (0..n).step_by(length) {
        let end = (start + length).min(n);
        let mut wanted: Vec<[f32; LANES]> = (start..end)
            .map(|i| {
                let mut wanted = fed(&feedback[i * n..][..start], &lost[..start]);
                (0..count).for_each(|row| wanted[row] += rows[row * n + i]);
                wanted
            })
            .collect();
        let grid_of = |row: usize| Grid::of(grids.form, &wanted.iter().map(|wanted| wanted[row]).collect::<Vec<_>>());
        let grid: Vec<Grid> = (0..count).map(grid_of).collect();
        let mut codes = vec![[0u8; LANES]; end - start];
        for i in start..end {
            let more = fed(&feedback[i * n + start..][..i - start], &lost[start..i]);
            for row in 0..count {
                let value = wanted[i - start][row] + more[row];
                wanted[i - start][row] = value;
                codes[i - start][row] = grid[row].code(value);
                lost[i][row] = rows[row * n + i] - grid[row].weight(codes[i - start][row]);
            }
        }
        let bytes = start / BLOCK * grids.ty.block_bytes()..end / BLOCK * grids.ty.block_bytes();
        for (row, out) in out.chunks_exact_mut(row_bytes).enumerate() {
            store(grid[row], grids, codes.iter().map(|codes| codes[row]), &mut out[bytes.clone()]);
        }
    }
}

/// `Σ_j c[j] lost[j]` for every row.
fn fed(c: &[f32], lost: &[[f32; LANES]]) -> [f32; LANES] {
    let mut sum = [0.0; LANES];
    for (c, lost) in c.iter().zip(lost) {
        sum.iter_mut().zip(lost).for_each(|(sum, lost)| *sum += c * lost);
    }
    sum
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_ops::host;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::rtn;
    use super::*;
    use crate::compress::Quantisation;
    use crate::gguf::dequantise;

    fn grids(text: &str) -> Grids {
        headwise_spec::from_text::<Quantisation>(text).unwrap().grids().unwrap()
    }

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| (0..4).map(|_| random.random_range(-1.0f32..1.0)).sum()).collect()
    }

    /// Second moments of inputs that go together.
    fn moments(n: usize, seed: u64) -> Tensor<2> {
        let device = Device::flex();
        let mixed = host::tensor::<2>(random(n * n / 4, seed), [n / 4, n], &device);
        let own = host::tensor::<2>(random(2 * n * n, seed + 1), [2 * n, n], &device) * 0.2;
        let rows = host::tensor::<2>(random(n * n / 2, seed + 2), [2 * n, n / 4], &device).matmul(mixed) + own;
        rows.clone().transpose().matmul(rows)
    }

    fn decoded(encoded: &Encoded, count: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; count];
        dequantise(encoded.ty, &encoded.bytes, &mut out).unwrap();
        out
    }

    /// `Σ (w - q)ᵀ H (w - q)` over the rows.
    fn error(matrix: &Matrix, encoded: &Encoded, gram: &Tensor<2>) -> f64 {
        let (n, gram) = (matrix.inputs, Host::new(gram.clone()));
        let found = decoded(encoded, matrix.values.len());
        let lost: Vec<f64> = matrix.values.iter().zip(found).map(|(w, q)| f64::from(w - q)).collect();
        let square =
            |d: &[f64]| (0..n * n).map(|at| d[at / n] * f64::from(gram.as_slice()[at]) * d[at % n]).sum::<f64>();
        lost.chunks_exact(n).map(square).sum()
    }

    #[test]
    fn inputs_that_do_not_go_together_are_rounded_to_the_nearest() {
        let n = 96;
        let matrix = Matrix { values: random(37 * n, 1), inputs: n };
        for text in ["gptq", "gptq(symmetric=false)", "gptq(bits=3, group=64)", "gptq(bits=8, group=0)"] {
            let grids = grids(text);
            let found = encode(&matrix, grids, Tensor::eye(n, &Device::flex()), 0.01).unwrap();
            assert_eq!(found, rtn::encode(&matrix, grids), "{text}");
        }
    }

    #[test]
    fn the_error_of_the_outputs_is_below_that_of_rounding() {
        for (seed, text) in
            ["gptq", "gptq(symmetric=false)", "gptq(bits=3)", "gptq(bits=2, group=64)"].into_iter().enumerate()
        {
            let (n, grids) = (128, grids(text));
            let matrix = Matrix { values: random(20 * n, seed as u64), inputs: n };
            let gram = moments(n, 100 + seed as u64);
            let [gptq, rtn] = [encode(&matrix, grids, gram.clone(), 0.01).unwrap(), rtn::encode(&matrix, grids)]
                .map(|encoded| error(&matrix, &encoded, &gram));
            assert!(gptq < 0.6 * rtn, "{text}: {gptq} against {rtn}");
        }
    }

    #[test]
    fn threads_and_dead_inputs_change_nothing() {
        let n = 64;
        let matrix = Matrix { values: random(40 * n, 5), inputs: n };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| encode(&matrix, grids("gptq"), moments(n, 9), 0.01).unwrap())
        };
        assert_eq!(run(1), run(3));
        let dead = encode(&matrix, grids("gptq"), Tensor::zeros([n, n], &Device::flex()), 0.01).unwrap();
        assert_eq!(dead, rtn::encode(&matrix, grids("gptq")));
        assert!(encode(&matrix, grids("gptq"), Tensor::eye(n, &Device::flex()) * -100.0, 0.01).is_none());
    }
}
