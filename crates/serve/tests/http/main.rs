//! The server as its clients see it.

mod answers;
mod faults;
mod forms;
mod server;
mod shared;
