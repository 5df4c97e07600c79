//! What every objective of language models promises: see `headwise_train::objective`.

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, ModelFamily};
use headwise_spec::Family;
use headwise_train::draws::{Purpose, draws};
use headwise_train::loss::Loss;
use headwise_train::model::{Trainable, draw};
use headwise_train::objective::{Document, Objective, ObjectiveSpec, TokenObjective, TokenOut, TokenTarget, TokenView};
use headwise_train::spec::ModelSpec;

/// Tokens of texts; objectives bring more.
const TEXT: u32 = 32;

/// Every objective, with its own tokens above those of texts.
fn objectives() -> Vec<TokenObjective> {
    specs().iter().map(|spec| spec.build(Loss::default())).collect()
}

fn specs() -> [ObjectiveSpec; 3] {
    let texts = ["next_token", "masked(mask=32, vocabulary=32)", "span_corruption(sentinel=33, sentinels=4, end=32)"];
    let specs =
        texts.map(|text| headwise_spec::from_text::<ObjectiveSpec>(text).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(specs.clone().map(|spec| spec.name()).to_vec(), ObjectiveSpec::names());
    specs
}

/// Every objective with a model that can learn it.
fn learners() -> Vec<(TokenObjective, Decoder, Device)> {
    let learner = |spec: ObjectiveSpec| {
        let can = |family: &ModelFamily| spec.check_family(*family).is_ok();
        let family = [ModelFamily::Decoder, ModelFamily::Encoder].into_iter().find(can).unwrap();
        let (model, device) = model(family);
        (spec.build(Loss::default()), model, device)
    };
    specs().map(learner).into()
}

/// A model of `family`.
fn model(family: ModelFamily) -> (Decoder, Device) {
    let causal = family == ModelFamily::Decoder;
    let text = format!(
        r#"
        dim = 8
        context = 64
        layers = [{{ repeat = 2, mixer = "softmax(heads=2, causal={causal})", channel = "gated(hidden=12)" }}]
        "#
    );
    let spec = ModelSpec { family, ..toml::from_str(&text).unwrap() };
    let device = Device::flex().autodiff();
    (draw(spec.decoder(37), 7, &device).unwrap(), device)
}

/// Texts of several lengths.
fn batch() -> Vec<Document> {
    let text = |start: u32, length: u32| (0..length).map(|i| (start + i * i * 7) % TEXT).collect::<Vec<_>>();
    vec![
        Document::text(&text(1, 20)),
        Document::text(&text(5, 31)),
        Document::text(&text(9, 17)),
        Document::text(&text(2, 26)),
    ]
}

fn corrupt(objective: &TokenObjective, batch: &[Document], step: u64) -> (TokenView, TokenTarget) {
    objective.corrupt(&batch.to_vec(), &mut draws(3, Purpose::Corruption, step, 0))
}

fn loss(
    objective: &TokenObjective,
    model: &Decoder,
    device: &Device,
    (view, target): &(TokenView, TokenTarget),
) -> f64 {
    let report = objective.loss(model.look(view, device), target);
    assert_eq!(report.count, target.count());
    report.sum.into_scalar::<f32>().into()
}

#[test]
fn corruption_is_pure_and_never_leaks() {
    for objective in objectives() {
        let name = objective.name();
        let texts = batch();
        let (view, target) = corrupt(&objective, &texts, 1);
        assert_eq!(corrupt(&objective, &texts, 1), (view.clone(), target.clone()), "{name}");
        assert!(!target.rows.is_empty(), "{name}");
        // Rows are places of the view, once each.
        assert!(
            target.rows.is_sorted_by(|a, b| a < b) && target.rows.iter().all(|&row| row < view.ids.len()),
            "{name}"
        );
        // With another answer the target is another, but what the model sees up to the place that is asked is the same.
        let mut tried = 0;
        for place in 0..texts[3].ids.len() {
            let mut other = texts.clone();
            match name {
                "next_token" => other[3].answers[place] += 100,
                _ => other[3].ids[place] += 100,
            }
            let (seen, wanted) = corrupt(&objective, &other, 1);
            assert_eq!(wanted.rows, target.rows, "{name}");
            let Some(asked) = (0..target.ids.len()).find(|&i| wanted.ids[i] != target.ids[i]) else { continue };
            let row = target.rows[asked];
            // Masked prediction leaves a tenth of what it asks for as it is.
            if name == "masked" && view.ids[row] == target.ids[asked] {
                continue;
            }
            assert_eq!(seen.ids[..=row], view.ids[..=row], "{name}: the answer is seen");
            tried += 1;
        }
        assert!(tried > 0, "{name}: nothing of this text is asked for");
    }
}

#[test]
fn packed_texts_cost_what_they_cost_alone() {
    for (objective, model, device) in learners() {
        let alone: Vec<_> = batch()
            .iter()
            .enumerate()
            .map(|(step, text)| corrupt(&objective, std::slice::from_ref(text), step as u64))
            .collect();
        let (mut view, mut target) = (TokenView::default(), TokenTarget::default());
        for (shown, asked) in &alone {
            target.append(view.ids.len(), asked);
            view.append(shown);
        }
        let packed = loss(&objective, &model, &device, &(view, target));
        let sum: f64 = alone.iter().map(|one| loss(&objective, &model, &device, one)).sum();
        assert!((packed - sum).abs() < 1e-6 * sum.abs().max(1.0) * 10.0, "{}: {packed}, not {sum}", objective.name());
        assert!(sum > 1.0);
    }
}

#[test]
fn nothing_asked_costs_nothing() {
    for (objective, model, device) in learners() {
        let (view, _) = corrupt(&objective, &batch(), 0);
        let report = objective.loss(model.look(&view, &device), &TokenTarget::default());
        assert_eq!((report.sum.clone().into_scalar::<f32>(), report.count), (0.0, 0.0));
        let gradients = burn::optim::GradientsParams::from_grads(report.sum.backward(), &model);
        let norm = headwise_train::gradients::global_norm(&model, &gradients);
        assert_eq!(norm, 0.0, "{}", objective.name());
        // Empty texts ask nothing either.
        let (view, target) = corrupt(&objective, &[Document::default()], 0);
        assert!(view.ids.is_empty() && target.rows.is_empty());
    }
}

/// An encoder learns from what stands after the place that is asked, a decoder from what stands before.
#[test]
fn families_see_what_they_say() {
    for (family, sees) in [(ModelFamily::Decoder, false), (ModelFamily::Encoder, true)] {
        let (model, device) = model(family);
        let view = |last: u32| {
            let mut view = TokenView::default();
            view.push(&[1, 2, 3, last]);
            view.push(&[1, 2, 3, 4]);
            view
        };
        let rows =
            |last: u32| -> Vec<f32> { model.look(&view(last), &device).hidden.into_data().try_into_vec().unwrap() };
        let (one, other) = (rows(5), rows(6));
        assert_eq!(one[..3 * 8] != other[..3 * 8], sees, "{family:?}");
        assert_eq!(one[4 * 8..], other[4 * 8..], "{family:?}: texts see each other");
    }
}

#[test]
fn the_right_answer_costs_least() {
    let device = Device::flex().autodiff();
    for objective in objectives() {
        let (view, target) = corrupt(&objective, &batch(), 0);
        // Each token of the vocabulary is a direction of its own; the model says `said` with a score of `sure`.
        let cost = |said: &dyn Fn(u32) -> u32| {
            let mut hidden = vec![0.0f32; view.ids.len() * 37];
            for (&row, &id) in target.rows.iter().zip(&target.ids) {
                hidden[row * 37 + said(id) as usize] = 40.0;
            }
            let hidden = Tensor::<1>::from_floats(hidden.as_slice(), &device).reshape([view.ids.len(), 37]);
            let out = TokenOut { hidden, classifier: Tensor::<2>::eye(37, &device), balance: None };
            f64::from(objective.loss(out, &target).sum.into_scalar::<f32>()) / target.count()
        };
        assert!(cost(&|id| id).abs() < 1e-6, "{}", objective.name());
        assert!((cost(&|id| (id + 1) % 37) - 40.0).abs() < 1e-3, "{}", objective.name());
    }
}
