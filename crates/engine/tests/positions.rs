//! Models with vectors of positions at their input.

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, EngineError, Wanted};
use headwise_models::decoder::{Decoder, DecoderSpec};

const CONTEXT: usize = 24;
const VOCABULARY: usize = 11;

fn decoder(mixer: &str, position: &str) -> Decoder {
    let text = format!(
        "vocabulary = {VOCABULARY}\ndim = 16\ncontext = {CONTEXT}\nepsilon = 1e-6\n{position}\n\
         [[layers]]\nmixer = \"softmax(heads=2, position=nope)\"\nchannel = \"gated(hidden=16)\"\n\
         [[layers]]\nmixer = \"{mixer}\"\nchannel = \"gated(hidden=16)\""
    );
    let spec: DecoderSpec = toml::from_str(&text).unwrap();
    Decoder::random(spec, &Device::flex()).unwrap()
}

fn ids(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|token| token * token % VOCABULARY as u32).collect()
}

#[test]
fn chunks_and_steps_give_what_training_sees() {
    for position in ["position = \"learned\"", "position = \"sinusoidal(scale=0.1)\""] {
        let model = decoder("softmax(heads=2)", position);
        let ids = ids(CONTEXT);
        let expected: Vec<f32> = model.forward(&ids, &Device::flex()).into_data().try_into_vec().unwrap();
        let engine = Engine::new(model, 1).unwrap();
        let mut sequence = engine.sequence(&CachePolicy::parse("f32").unwrap()).unwrap();
        let mut logits = Vec::new();
        for ids in [&ids[..7], &ids[7..20]] {
            let chunk = Chunk { sequence: &mut sequence, ids, prompt_ends: false, wanted: Wanted::All };
            logits.extend(engine.forward(&mut [chunk]).unwrap().remove(0).values);
        }
        for &id in &ids[20..] {
            logits.extend(engine.step(&mut sequence, id).unwrap().values);
        }
        let most = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(logits.len() == expected.len() && most < 1e-5, "{position}: {most}");
    }
}

#[test]
fn a_text_ends_where_learned_positions_do() {
    let engine = |position| Engine::new(decoder("softmax(heads=2)", position), 1).unwrap().with_context(2 * CONTEXT);
    let full = CachePolicy::full();
    let learned = engine("position = \"learned\"");
    let mut sequence = learned.sequence(&full).unwrap();
    learned.prefill(&mut sequence, &ids(CONTEXT), |_| {}).unwrap();
    let error = learned.step(&mut sequence, 1).unwrap_err();
    assert!(matches!(error, EngineError::Positions { tokens: 25, positions: CONTEXT }), "{error}");
    assert!(error.to_string().contains("24 positions"), "{error}");
    let waves = engine("position = \"sinusoidal\"");
    waves.prefill(&mut waves.sequence(&full).unwrap(), &ids(CONTEXT + 1), |_| {}).unwrap();
}
