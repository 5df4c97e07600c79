//! How both passes run: stream after stream, each on one worker with the memory it keeps, compiled for each kind of decay.

use std::cell::RefCell;
use std::thread::LocalKey;

use super::channel_decay::ChannelDecay;
use super::decay::ChunkDecay;
use super::inputs::Decay;
use super::scalar_decay::ScalarDecay;
use super::stream::{Stream, Streams};
use crate::parallel;
use crate::simd::{Kernel, Simd, dispatch};

/// The forward or the backward pass.
pub(super) trait Pass: Sync {
    /// Working memory beside the decay's.
    type Room: 'static;

    /// Computes one stream.
    fn run<S: Simd, D: ChunkDecay>(&self, s: S, stream: Stream, room: &mut Self::Room, decay: &mut D);
}

/// Working memory of a worker, kept from call to call.
#[derive(Default)]
pub(super) struct Scratch<R> {
    room: R,
    scalar: ScalarDecay,
    channel: ChannelDecay,
}

/// Computes all streams of a pass with this decay.
pub(super) fn run<P: Pass>(
    pass: &P,
    decay: &Decay<'_>,
    streams: &Streams<'_>,
    scratch: &'static LocalKey<RefCell<Scratch<P::Room>>>,
) {
    parallel::parts(streams.count(), |part| {
        let stream = streams.get(part);
        scratch.with_borrow_mut(|Scratch { room, scalar, channel }| match decay {
            Decay::Channel(_) => dispatch(Run { pass, stream, room, decay: channel }),
            _ => dispatch(Run { pass, stream, room, decay: scalar }),
        });
    });
}

/// One stream on one worker.
struct Run<'a, P: Pass, D> {
    pass: &'a P,
    stream: Stream,
    room: &'a mut P::Room,
    decay: &'a mut D,
}

impl<P: Pass, D: ChunkDecay> Kernel for Run<'_, P, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.pass.run(s, self.stream, self.room, self.decay);
    }
}
