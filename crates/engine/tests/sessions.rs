//! A text that was put away goes on bit for bit; a file that is not of this text's model and policy changes nothing.

mod small;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Sequence, Session, SessionError};
use small::*;

fn session(sequence: Sequence) -> Session {
    Session { sequence, unread: vec![3, 1], note: "said {\"so\": \"far\"}\n…".into() }
}

/// Every policy by itself with a short budget, and some in company.
fn policies() -> Vec<String> {
    let evicting = EVICTING.map(|name| with(name, "budget=40, slack=5"));
    let reading = READING.map(|name| with(name, "budget=96"));
    let more = [
        "full",
        "f32",
        "bf16",
        "int8",
        "int4",
        "kivi4",
        "kivi2",
        "h2o(budget=70) + kivi2",
        "streaming(budget=30, when=chunk) + int4",
        "adakv + snapkv(keep=0.4, window=8) + int8",
        "uncomp_groups + snapkv(keep=0.4, window=8)",
        "act(alpha=1.2, heads=[[0, 1], [1, 0], [2, 3]]) + snapkv(keep=0.8, window=8)",
        "snapkv(budget=120, window=8) + quest(budget=96, dense_layers=0) + int8",
        "token_select(budget=64, sinks=2, recent=9) + kivi4",
    ];
    evicting.into_iter().chain(reading).chain(more.map(String::from)).collect()
}

#[test]
fn a_text_goes_on_as_if_it_had_never_been_put_away() {
    let engine = engine(2);
    let (prompt, steps) = (ids(7, 170), ids(8, 80));
    for text in policies() {
        // In the middle of the prompt, right after it, and further on.
        for read in [100, 170, 183, 230] {
            let mut sequence = engine.sequence(&policy(&text)).unwrap();
            let (first, rest) = prompt.split_at(read.min(170));
            for (at, ids) in first.chunks(64).enumerate() {
                let prompt_ends = read >= 170 && at * 64 + ids.len() == first.len();
                let wanted = headwise_engine::Wanted::Nothing;
                let chunk = headwise_engine::Chunk { sequence: &mut sequence, ids, prompt_ends, wanted };
                engine.forward(&mut [chunk]).unwrap();
            }
            continued(&engine, &mut sequence, &steps[..read.saturating_sub(170)]);
            let bytes = session(sequence.clone()).to_bytes(&engine).unwrap();
            let asked = policy(&text);
            let loaded =
                Session::from_bytes(&engine, &bytes, Some(&asked)).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((&loaded.unread[..], &loaded.note[..]), (&[3, 1][..], "said {\"so\": \"far\"}\n…"));
            let mut loaded = loaded.sequence;
            assert_eq!(loaded.tokens(), sequence.tokens());
            assert_eq!(loaded.bytes(), sequence.bytes(), "{text} at {read}");
            assert_eq!(loaded.peak_bytes(), sequence.peak_bytes(), "{text} at {read}");
            assert_eq!(positions(&loaded), positions(&sequence), "{text} at {read}");
            for sequence in [&mut sequence, &mut loaded] {
                if !rest.is_empty() {
                    engine.prefill(sequence, rest, |_| {}).unwrap();
                }
            }
            let next = &steps[read.saturating_sub(170)..];
            let next = &next[..next.len().min(60)];
            assert!(
                continued(&engine, &mut loaded, next) == continued(&engine, &mut sequence, next),
                "{text} at {read}: the steps after it"
            );
            assert_eq!(positions(&loaded), positions(&sequence), "{text} at {read}, further on");
            assert_eq!(loaded.bytes(), sequence.bytes(), "{text} at {read}, further on");
            assert_eq!(loaded.pairs_read(), sequence.pairs_read(), "{text} at {read}");
        }
    }
}

#[test]
fn an_empty_text_is_a_session_too() {
    let engine = engine(1);
    let empty = session(engine.sequence(&CachePolicy::full()).unwrap());
    let mut loaded = Session::from_bytes(&engine, &empty.to_bytes(&engine).unwrap(), None).unwrap().sequence;
    let mut fresh = engine.sequence(&CachePolicy::full()).unwrap();
    assert!(continued(&engine, &mut loaded, &[1, 2, 3]) == continued(&engine, &mut fresh, &[1, 2, 3]));
}

fn written(engine: &Engine, text: &str) -> Vec<u8> {
    let (_, sequence) = run(engine, text, &ids(7, 90), &ids(8, 9));
    session(sequence).to_bytes(engine).unwrap()
}

#[test]
fn sessions_of_others_are_refused() {
    let engine = engine(1);
    let bytes = written(&engine, "h2o(budget=40)");
    assert!(Session::from_bytes(&engine, &bytes, None).is_ok());
    let other = Session::from_bytes(&engine, &bytes, Some(&policy("h2o(budget=41)"))).unwrap_err();
    assert!(matches!(&other, SessionError::Policy { .. }));
    assert!(other.to_string().contains("h2o(budget=40)") && other.to_string().contains("h2o(budget=41)"), "{other}");
    let windowed = Engine::new(decoder([Some(16), None, None]), 1).unwrap();
    let model = Session::from_bytes(&windowed, &bytes, None).unwrap_err();
    assert!(matches!(model, SessionError::Model { .. }), "{model}");
}

#[test]
fn a_damaged_file_is_refused_wherever_it_is_damaged() {
    let engine = engine(1);
    for text in ["h2o(budget=40)", "kivi2", "recycled(stride=4, budget=64)"] {
        let bytes = written(&engine, text);
        for length in (0..bytes.len()).step_by(bytes.len() / 50) {
            assert!(Session::from_bytes(&engine, &bytes[..length], None).is_err(), "{text}: {length} bytes of it");
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 200) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(Session::from_bytes(&engine, &bytes, None).is_err(), "{text}: byte {at} changed");
        }
        assert!(Session::from_bytes(&engine, &[&bytes[..], &[0]].concat(), None).is_err(), "{text}: a byte more");
    }
    for nothing in [&b""[..], b"{}", b"\x02\0\0\0\0\0\0\0{}"] {
        assert!(matches!(Session::from_bytes(&engine, nothing, None), Err(SessionError::Format(_))));
    }
}

#[test]
fn a_file_is_replaced_when_the_new_one_is_whole() {
    let engine = engine(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.session");
    let missing = Session::load(&engine, &path, None).unwrap_err();
    assert!(missing.to_string().contains("text.session"), "{missing}");
    let (_, sequence) = run(&engine, "full", &ids(7, 90), &ids(8, 9));
    session(sequence).save(&engine, &path).unwrap();
    assert_eq!(Session::load(&engine, &path, None).unwrap().sequence.tokens(), 99);
    let (_, sequence) = run(&engine, "full", &ids(7, 50), &[]);
    session(sequence).save(&engine, &path).unwrap();
    assert_eq!(Session::load(&engine, &path, None).unwrap().sequence.tokens(), 50);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "no parts are left");
    let nowhere = folder.path().join("nowhere/text.session");
    let (_, sequence) = run(&engine, "full", &ids(7, 50), &[]);
    assert!(matches!(session(sequence).save(&engine, &nowhere), Err(SessionError::File { .. })));
}
