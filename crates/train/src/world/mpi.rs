//! Processes that add numbers through MPI.

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;

use super::WorldError;

/// Numbers that are sent at once.
const BLOCK: usize = 1 << 22;

/// Puts the sums over all processes in the place of `values`.
pub(super) fn sum<T: Equivalence + Copy + Default>(values: &mut [T]) {
    let world = SimpleCommunicator::world();
    let mut sums = vec![T::default(); values.len().min(BLOCK)];
    for block in values.chunks_mut(BLOCK) {
        let sums = &mut sums[..block.len()];
        world.all_reduce_into(&*block, sums, SystemOperation::sum());
        block.copy_from_slice(sums);
    }
}

/// MPI while it runs; dropped without [`end`](Self::end), it stops all processes.
pub(super) struct Session {
    universe: Option<Universe>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    pub fn start() -> Result<Self, WorldError> {
        // One thread at a time talks, but not always the main one.
        let started = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) = started.ok_or(WorldError::Start("it runs already"))?;
        match threading >= Threading::Serialized {
            true => Ok(Self { universe: Some(universe) }),
            false => Err(WorldError::Start("it was built without support for threads")),
        }
    }

    /// The number of this process, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        let world = SimpleCommunicator::world();
        (world.rank() as usize, world.size() as usize)
    }

    pub fn end(mut self) {
        drop(self.universe.take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.universe.is_some() {
            SimpleCommunicator::world().abort(2);
        }
    }
}
