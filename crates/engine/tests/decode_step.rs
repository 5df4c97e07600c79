//! What a decoded token costs, counted instead of timed: bytes of the cache that it adds and reads, and allocations.

mod small;

use allocation_counter::{AllocationInfo, measure};
use headwise_engine::Engine;
use headwise_kernels::kv::PAGE;
use small::*;

/// Bytes of a pair of [`HEAD_DIM`] channels, from the definitions of the formats.
const FORMATS: [(&str, usize); 4] = [
    ("f32", 2 * HEAD_DIM * 4),
    ("full", 2 * HEAD_DIM * 2),
    ("int8", 2 * (HEAD_DIM + 4)),
    ("int4", 2 * (HEAD_DIM / 2 + 4)),
];

#[test]
fn every_token_adds_exactly_the_bytes_of_its_pairs() {
    let engine = engine(1);
    for (text, pair_bytes) in FORMATS {
        let mut sequence = engine.sequence(&policy(text)).unwrap();
        engine.prefill(&mut sequence, &ids(1, 37), |_| {}).unwrap();
        for (step, id) in ids(2, 70).into_iter().enumerate() {
            let tokens = 37 + step;
            let bytes = sequence.bytes();
            assert_eq!(bytes.coded(), LAYERS * KV_HEADS * tokens * pair_bytes, "{text} after {tokens} tokens");
            assert_eq!(bytes.positions, LAYERS * KV_HEADS * tokens * 4, "{text} after {tokens} tokens");
            let unused = tokens.next_multiple_of(PAGE) - tokens;
            assert_eq!(bytes.waste, LAYERS * KV_HEADS * unused * pair_bytes, "{text} after {tokens} tokens");
            assert_eq!(bytes.statistics, 0, "{text}: a policy that keeps everything needs no statistics");
            for layer in sequence.layers() {
                let read: usize = layer.pairs().iter().map(|pairs| pairs.bytes().coded()).sum();
                assert_eq!(read, KV_HEADS * tokens * pair_bytes, "{text}: what layer {} attends to", layer.layer());
            }
            engine.step(&mut sequence, id).unwrap();
        }
    }
}

/// Allocations of a step after `tokens` tokens and a few more: of eight steps, none of which fills a page or makes a list of
/// positions grow, so that all are alike.
fn allocations(engine: &Engine, text: &str, tokens: usize) -> AllocationInfo {
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    engine.prefill(&mut sequence, &ids(1, tokens), |_| {}).unwrap();
    engine.install(|| {
        (0..12).for_each(|id| drop(engine.step(&mut sequence, id).unwrap()));
        let first = measure(|| drop(engine.step(&mut sequence, 12).unwrap()));
        for id in 13..20 {
            let found = measure(|| drop(engine.step(&mut sequence, id).unwrap()));
            assert_eq!(found, first, "{text}, {} tokens", sequence.tokens());
        }
        assert_eq!(first.bytes_current, 0, "{text}: a token's room was there before");
        first
    })
}

#[test]
fn a_step_allocates_as_much_after_a_long_text_as_after_a_short_one() {
    // One thread: counts are those of the thread that measures.
    let engine = engine(1).with_context(4096);
    for (text, _) in FORMATS {
        let [short, half, most, long] = [192, 1056, 1472, 1984].map(|tokens| allocations(&engine, text, tokens));
        assert!(short.count_total <= 120 * LAYERS as u64, "{text}: {short:?}");
        assert!(short.bytes_total <= 10_000 * LAYERS as u64, "{text}: {short:?}");
        assert!(short.bytes_max <= 4096, "{text}: {short:?}");
        // Between two splits of 512 keys nothing depends on the length.
        assert_eq!(half, most, "{text}: 1056 and 1472 tokens");
        // A further split is a unit of work for each head: two lists, and a record of 32 numbers for each query head.
        let splits = 3 * LAYERS as u64;
        let more = [long.count_total - short.count_total, long.bytes_total - short.bytes_total];
        assert!(more[0] <= splits * (2 * KV_HEADS as u64 + 1), "{text}: {more:?}");
        assert!(more[1] <= splits * (32 * 4 * HEADS as u64 + 640), "{text}: {more:?}");
    }
}
