//! Techniques that store weights on coarser grids.

use burn::tensor::Device;
use headwise_models::compress::{Rtn, SmoothQuant};
use headwise_models::decoder::Decoder;
use headwise_nn::named::Named;
use headwise_ops::host::{Host, contiguous};

use super::super::Measured;
use super::tiny::{GOING_ON, Tiny, apart, more};
use super::zeros::matrices;

pub fn per_channel(tiny: &Tiny) -> [Measured; 2] {
    let mut rounded = tiny.model().clone();
    Rtn { bits: 8, group: 0, symmetric: true }.round(&mut rounded);
    let mut most = 0.0;
    for (before, after) in matrices(tiny.model()).iter().zip(matrices(&rounded)) {
        let width = before.shape[1];
        for (before, after) in before.values.chunks(width).zip(after.values.chunks(width)) {
            let step = before.iter().fold(0.0f32, |most, weight| most.max(weight.abs())) / 127.0;
            let errors = before.iter().zip(after).map(|(before, after)| f64::from((before - after).abs()));
            most = errors.fold(most, |most, error| f64::max(most, error / (f64::from(step) / 2.0)));
        }
    }
    [Measured::alone(most), Measured::alone(tiny.lost("rtn(bits=8, group=0)"))]
}

pub fn smoothquant(tiny: &Tiny) -> [Measured; 2] {
    let mut smoothed = tiny.model().clone();
    SmoothQuant::default().smooth(&mut smoothed, &tiny.calibration).expect("a model of softmax layers");
    assert_ne!(matrices(&smoothed), matrices(tiny.model()), "something moved");
    let scores = |model: &Decoder| {
        Host::new(contiguous(model.forward(&tiny.judged[..256], &Device::flex()))).as_slice().to_vec()
    };
    let identity = apart(&scores(&smoothed), &scores(tiny.model()));
    [Measured::alone(identity), Measured::alone(tiny.lost("smoothquant"))]
}

pub fn gptq(tiny: &Tiny) -> [Measured; 2] {
    // Damped so much, the second moments are a multiple of the identity.
    let codes = |to: &str| tiny.file(&mut tiny.model().clone(), to);
    let (found, expected) = (codes("gptq(bits=4, damp=1000000000000)"), codes("rtn(bits=4)"));
    let pairs = found.tensors().iter().zip(expected.tensors());
    let differences = pairs.map(|(a, b)| a.blob.bytes().iter().zip(b.blob.bytes()).filter(|(a, b)| a != b).count());
    let lost = Measured::against(tiny.lost("gptq(bits=3)"), tiny.lost("rtn(bits=3)"));
    [Measured::alone(differences.sum::<usize>() as f64), lost]
}

pub fn quantisation_aware(tiny: &Tiny) -> [Measured; 2] {
    let rounding = Rtn { bits: 3, group: 32, symmetric: true };
    let aware = tiny.learned(GOING_ON, tiny.itself(), "restraint = \"quantisation_aware(bits=3)\"");
    let round = |model: &Decoder| {
        let mut rounded = model.clone();
        rounding.round(&mut rounded);
        rounded
    };
    let wrong = |(a, b): (&Named, &Named)| a.values.iter().zip(&b.values).filter(|(a, b)| a != b).count();
    let (trained, rounded) = (matrices(&aware), matrices(&round(&aware)));
    let differences: usize = trained.iter().zip(&rounded).map(wrong).sum();
    let whole = tiny.perplexity(tiny.gone_on());
    let lost = |model: &Decoder| more(tiny.perplexity(model), whole);
    [Measured::alone(differences as f64), Measured::against(lost(&aware), lost(&round(tiny.gone_on())))]
}
