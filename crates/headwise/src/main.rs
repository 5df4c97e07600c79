//! The `headwise` command line.

mod cli;
mod memory;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    memory::keep_freed();
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headwise: {error}");
            ExitCode::from(2)
        }
    }
}
