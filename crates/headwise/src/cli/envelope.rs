//! What stands around the rows that a command writes.

use headwise::kernels::simd::Level;
use headwise::lab::rows::{Envelope, Machine};

/// `rows` with the version, the machine with so many threads in use, and the command line.
pub(super) fn envelope<R>(threads: usize, rows: Vec<R>) -> Envelope<R> {
    let machine = Machine::detect(threads, Level::current().name());
    Envelope { version: env!("CARGO_PKG_VERSION").into(), machine, command: command(), rows }
}

/// The command line to run this again, as a shell takes it.
fn command() -> String {
    let quoted = |argument: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("headwise {}", arguments.join(" "))
}
