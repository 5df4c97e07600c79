//! A mixture against its definition, row by row; gradients; and who brings the experts.

use std::sync::Arc;

use headwise_ops::host::Host;

use super::*;
use crate::named;

const DIM: usize = 6;

fn spec() -> MoeSpec {
    MoeSpec { experts: 5, active: 2, hidden: 7, balance: 0.5, ..MoeSpec::default() }
}

fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|index| ((index as f32 + 1.0) * (seed + 0.37)).sin()).collect()
}

fn rows(device: &Device, count: usize) -> Tensor<3> {
    host::tensor(numbers(count * DIM, 1.0), [1, count, DIM], device)
}

fn values(y: Tensor<3>) -> Vec<f32> {
    Host::new(y).as_slice().to_vec()
}

/// The definition: every row alone, all experts, in double precision.
fn definition(moe: &Moe, x: &[f32]) -> Vec<f64> {
    let all = named::read(moe);
    let matrix = |name: String| &all.iter().find(|weight| weight.name == name).unwrap().values;
    let product = |weight: &[f32], x: &[f64]| -> Vec<f64> {
        weight.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
    };
    let mut all_rows = Vec::new();
    for row in x.chunks_exact(DIM) {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let scores = product(matrix("router.weight".into()), &row);
        let mut chosen: Vec<usize> = (0..scores.len()).collect();
        chosen.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        chosen.truncate(moe.spec().active);
        let sum: f64 = chosen.iter().map(|&expert| scores[expert].exp()).sum();
        let mut y = vec![0.0; DIM];
        for expert in chosen {
            let part = |name: &str| matrix(format!("experts.{expert}.{name}.weight"));
            let [gate, up] = ["gate", "up"].map(|name| product(part(name), &row));
            let hidden: Vec<f64> = gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            let weight = scores[expert].exp() / sum;
            y.iter_mut().zip(product(part("down"), &hidden)).for_each(|(y, found)| *y += weight * found);
        }
        all_rows.extend(y);
    }
    all_rows
}

#[test]
fn a_mixture_is_what_its_definition_says() {
    let device = Device::flex();
    let moe = Moe::random(&spec(), DIM, &device);
    let found = values(moe.forward(rows(&device, 9)).0);
    let expected = definition(&moe, &numbers(9 * DIM, 1.0));
    assert!(found.iter().zip(&expected).all(|(found, expected)| (f64::from(*found) - expected).abs() < 1e-5));
    let with_gradients = moe.train().forward(rows(&device.autodiff(), 9));
    assert!(values(with_gradients.0).iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn gradients_are_those_of_small_changes() {
    let device = Device::flex().autodiff();
    let moe = Moe::random(&spec(), DIM, &device);
    let weights: Tensor<3> = host::tensor(numbers(5 * DIM, 2.0), [1, 5, DIM], &device);
    let loss = |x: Tensor<3>| {
        let (y, balance) = moe.forward(x);
        (y * weights.clone()).sum() + balance.unwrap()
    };
    let at = numbers(5 * DIM, 1.0);
    let tensor = |values: Vec<f32>| -> Tensor<3> { host::tensor(values, [1, 5, DIM], &device) };
    let x = tensor(at.clone()).require_grad();
    let gradient = values(x.grad(&loss(x.clone()).backward()).unwrap());
    for index in 0..at.len() {
        let moved = |by: f32| {
            let mut at = at.clone();
            at[index] += by;
            loss(tensor(at)).into_scalar::<f32>()
        };
        let slope = (moved(5e-3) - moved(-5e-3)) / 1e-2;
        assert!((slope - gradient[index]).abs() < 5e-3, "{index}: {slope} {}", gradient[index]);
    }
}

#[test]
fn the_balance_is_least_when_all_are_equally_busy() {
    let device = Device::flex().autodiff();
    let moe = Moe::random(&MoeSpec { experts: 4, active: 1, ..spec() }, DIM, &device);
    let balance = |scores: [[f32; 4]; 4]| {
        let routes = Routes::of(scores.as_flattened(), 4, 1);
        moe.balance(Tensor::<2>::from_data(scores, &device), &routes).into_scalar::<f32>()
    };
    let equal: [[f32; 4]; 4] = std::array::from_fn(|row| std::array::from_fn(|e| if e == row { 9.0 } else { 0.0 }));
    assert!((balance(equal) - 0.5).abs() < 1e-3);
    assert!(balance([[9.0, 0.0, 0.0, 0.0]; 4]) > 1.9);
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let device = Device::flex();
    let mut moe = Moe::random(&spec(), DIM, &device);
    pack(&mut moe);
    let together = values(moe.forward(rows(&device, 9)).0);
    for row in 0..9 {
        let alone = host::tensor(numbers(9 * DIM, 1.0)[row * DIM..][..DIM].to_vec(), [1, 1, DIM], &device);
        assert_eq!(values(moe.forward(alone).0), together[row * DIM..][..DIM], "row {row}");
    }
}

/// Weights in the layout of inference.
fn pack(moe: &mut Moe) {
    use headwise_kernels::matrix::PackedMatrix;
    let all = named::read(moe);
    let packed = |name: String| {
        let weight = all.iter().find(|weight| weight.name == name).unwrap();
        Linear::packed(PackedMatrix::from_f32(&weight.values, weight.shape[0], weight.shape[1]), None)
    };
    moe.router = packed("router.weight".into());
    let Experts::Resident(experts) = &mut moe.experts else { panic!() };
    for (index, expert) in experts.iter_mut().enumerate() {
        let [gate, up, down] = ["gate", "up", "down"].map(|part| packed(format!("experts.{index}.{part}.weight")));
        *expert = Gated::new(gate, up, down, Gate::Silu);
    }
}

/// Brings experts in descending order.
#[derive(Debug)]
struct Backwards(Vec<Gated>);

impl ExpertSource for Backwards {
    fn visit(&self, layer: usize, x: &Tensor<2>, routes: &Routes, run: &mut dyn FnMut(usize, &Gated)) {
        assert_eq!((layer, x.dims()), (3, [9, DIM]));
        routes.needed().into_iter().rev().for_each(|expert| run(expert, &self.0[expert]));
    }
}

#[test]
fn the_order_in_which_experts_are_brought_changes_no_bit() {
    let device = Device::flex();
    let mut moe = Moe::random(&spec(), DIM, &device);
    let expected = values(moe.forward(rows(&device, 9)).0);
    let Experts::Resident(experts) = moe.experts.clone() else { panic!() };
    moe.experts = Experts::Elsewhere(Elsewhere::new(Arc::new(Backwards(experts)), 3));
    assert_eq!(values(moe.forward(rows(&device, 9)).0), expected);
    assert_eq!(named::read(&moe).len(), 1, "only the router is left");
}

#[test]
fn what_cannot_be_is_named() {
    let wrong = |spec: MoeSpec| spec.check().unwrap_err();
    assert!(wrong(MoeSpec { experts: 0, ..spec() }).contains("experts is 0"));
    assert!(wrong(MoeSpec { active: 6, ..spec() }).contains("at most 5"));
    assert!(wrong(MoeSpec { active: 0, ..spec() }).contains("active is 0"));
    assert!(wrong(MoeSpec { balance: f64::NAN, ..spec() }).contains("balance"));
    assert_eq!(spec().check(), Ok(()));
}
