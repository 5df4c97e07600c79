//! An encoder learns the masked objective, and sees both sides of what it fills in.

use headwise_train::spec::TrainSpec;
use headwise_train::trainer::Trainer;

/// Pairs of a letter and the same as a capital, in no order: a hidden capital follows from the letter before it, a hidden letter
/// from the capital after it.
fn text() -> String {
    let letter = |i: u32| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 16) as u8 % 16);
    (0..4000).map(letter).flat_map(|letter| [letter, letter.to_ascii_uppercase()]).collect()
}

#[test]
fn gaps_are_filled_from_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, text()).unwrap();
    let source = format!("[{{ type = \"text\", path = {:?} }}]", file.display().to_string());
    let spec = format!(
        r#"
        objective = "masked"
        optimiser = "adamw(learning_rate=0.01)"
        schedule = "constant(warmup=10)"
        clip = 1.0
        [model]
        family = "encoder"
        dim = 32
        context = 32
        layers = [{{ repeat = 2, mixer = "softmax(heads=2, causal=false)", channel = "gated(hidden=32)" }}]
        [data]
        sources = {source}
        [[stages]]
        steps = 250
        sequences = 8
        length = 32
        [evaluation]
        sequences = 32
        sources = {source}
        "#
    );
    let mut trainer = Trainer::new(TrainSpec::parse(&spec).unwrap(), folder.path()).unwrap();
    // Bytes and the mask.
    assert_eq!(trainer.model().spec().vocabulary, 257);
    for _ in 0..250 {
        trainer.step().unwrap();
    }
    // The commonest of 32 signs is right in about 4 %, one that sees the left side only in about half.
    let evaluation = trainer.evaluate().unwrap().unwrap();
    assert!(evaluation.accuracy > 0.6, "{evaluation:?}");
    assert_eq!(evaluation.bits_per_byte, None);
}
