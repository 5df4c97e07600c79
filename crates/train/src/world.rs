//! The processes that train one model together.
//!
//! Each shows its copy of the model a share of the sequences of a step; the gradients of all are added, so all copies stay the
//! same, and a spec makes the same model, up to rounding, however many processes run it. `mpirun` starts them, on one machine
//! or many; they share the folder of the run. A program built without the feature `mpi` is always alone.

#[cfg(feature = "mpi")]
mod mpi;

/// A place among the processes that train one model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    rank: usize,
    size: usize,
}

impl World {
    /// One process alone.
    pub const ALONE: Self = Self { rank: 0, size: 1 };

    /// The number of this process, from 0 on.
    pub fn rank(self) -> usize {
        self.rank
    }

    /// How many processes there are.
    pub fn size(self) -> usize {
        self.size
    }

    /// Whether this process writes what all have in common.
    pub fn leads(self) -> bool {
        self.rank == 0
    }

    /// Puts the sums over all processes in the place of `values`, of which all have as many.
    #[cfg_attr(not(feature = "mpi"), allow(unused_variables, reason = "one process is its own sum"))]
    pub fn sum(self, values: &mut [f32]) {
        #[cfg(feature = "mpi")]
        if self.size > 1 {
            mpi::sum(values);
        }
    }

    /// The sums over all processes.
    #[cfg_attr(not(feature = "mpi"), allow(unused_mut, reason = "one process is its own sum"))]
    pub fn total<const N: usize>(self, mut values: [f64; N]) -> [f64; N] {
        #[cfg(feature = "mpi")]
        if self.size > 1 {
            mpi::sum(&mut values);
        }
        values
    }

    /// Whether any process says so.
    pub fn any(self, says: bool) -> bool {
        self.total([f64::from(u8::from(says))]) != [0.0]
    }

    /// Waits until all processes are here.
    pub fn wait(self) {
        self.any(false);
    }

    /// What `make` makes, first in the process that leads, then in the others, which find what it wrote.
    pub fn leader_first<T>(self, make: impl FnOnce() -> T) -> T {
        if !self.leads() {
            self.wait();
        }
        let made = make();
        if self.leads() {
            self.wait();
        }
        made
    }
}

/// Why processes cannot work together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// The program cannot talk to the others.
    #[error(
        "{processes} processes were started together, but this program was built without MPI: build it with `--features mpi`, or \
         start one process"
    )]
    WithoutMpi {
        /// How many were started.
        processes: usize,
    },
    /// The MPI library does not start, or allows no threads.
    #[error("MPI does not start: {0}")]
    Start(&'static str),
}

/// Takes part in the work of all processes. Whoever drops it without [`leave`](Self::leave), as after an error, stops them all: they
/// would wait for ever.
#[derive(Debug)]
pub struct Membership {
    world: World,
    #[cfg(feature = "mpi")]
    session: Option<mpi::Session>,
}

impl Membership {
    /// Joins the processes that were started with this one, if there are any.
    pub fn join() -> Result<Self, WorldError> {
        match launched() {
            0 | 1 => Ok(Self {
                world: World::ALONE,
                #[cfg(feature = "mpi")]
                session: None,
            }),
            processes => Self::join_others(processes),
        }
    }

    #[cfg(feature = "mpi")]
    fn join_others(_: usize) -> Result<Self, WorldError> {
        let session = mpi::Session::start()?;
        let (rank, size) = session.place();
        Ok(Self { world: World { rank, size }, session: Some(session) })
    }

    #[cfg(not(feature = "mpi"))]
    fn join_others(processes: usize) -> Result<Self, WorldError> {
        Err(WorldError::WithoutMpi { processes })
    }

    /// The place of this process.
    pub fn world(&self) -> World {
        self.world
    }

    /// Ends the work, once all processes have done theirs.
    #[cfg_attr(not(feature = "mpi"), allow(unused_mut, reason = "there is no session to end"))]
    pub fn leave(mut self) {
        #[cfg(feature = "mpi")]
        if let Some(session) = self.session.take() {
            session.end();
        }
    }
}

/// How many processes a launcher started together, as it says in the environment.
fn launched() -> usize {
    // Open MPI, and the launchers of MPICH and its relatives.
    let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];
    names.iter().find_map(|name| std::env::var(name).ok()?.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_is_its_own_sum() {
        let world = World::ALONE;
        let mut values = [1.0, -2.5];
        world.sum(&mut values);
        assert_eq!((values, world.total([3.0])), ([1.0, -2.5], [3.0]));
        assert!(world.leads() && world.any(true) && !world.any(false));
        assert_eq!(world.leader_first(|| 7), 7);
    }
}
