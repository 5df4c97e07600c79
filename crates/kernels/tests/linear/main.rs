//! Linear recurrences against their definition in f64, and against themselves in other cuts.

mod agreement;
mod cuts;
mod golden;
mod reference;

use headwise_kernels::simd::Level;

/// The level is chosen once per process, so each narrower one is a run of this test binary of its own.
#[test]
fn narrower_instruction_sets_pass_too() {
    if std::env::var_os("HEADWISE_SIMD").is_some() {
        return;
    }
    for level in Level::available().into_iter().rev().skip(1) {
        let run =
            std::process::Command::new(std::env::current_exe().unwrap()).env("HEADWISE_SIMD", level.name()).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{}:\n{}", level.name(), String::from_utf8_lossy(&run.stdout));
    }
}
