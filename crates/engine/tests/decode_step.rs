//! What a decoded token costs, counted instead of timed: bytes of the cache that it adds and reads, and allocations.

mod small;

use allocation_counter::{AllocationInfo, measure};
use headwise_engine::{Engine, Sequence};
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

/// Allocations of each of eight steps after `tokens` tokens and a few more; none of them fills a page.
fn allocations(engine: &Engine, text: &str, tokens: usize) -> Vec<AllocationInfo> {
    let mut sequence: Sequence = engine.sequence(&policy(text)).unwrap();
    engine.prefill(&mut sequence, &ids(1, tokens), |_| {}).unwrap();
    engine.install(|| {
        (0..12).for_each(|id| drop(engine.step(&mut sequence, id).unwrap()));
        (0..8).map(|id| measure(|| drop(engine.step(&mut sequence, id).unwrap()))).collect()
    })
}

#[test]
fn a_step_allocates_as_much_after_a_long_text_as_after_a_short_one() {
    // One thread: counts are those of the thread that measures.
    let engine = engine(1).with_context(4096);
    for (text, _) in FORMATS {
        let (short, long) = (allocations(&engine, text, 192), allocations(&engine, text, 1984));
        println!("{text}: {:?}", short[0]);
        println!("{text}: {:?}", long[0]);
        println!("{text}: {:?}", allocations(&engine, text, 600)[0]);
    }
    panic!();
}
