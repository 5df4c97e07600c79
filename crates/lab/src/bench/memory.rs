//! How much memory a piece of work takes, as the operating system counts it.

use std::fs;

/// What `work` returns, and by how many MiB the memory that was resident grew at most while it ran: none where the system
/// does not tell (it does on Linux).
pub(super) fn growth_of<T>(work: impl FnOnce() -> T) -> (T, Option<f64>) {
    // "5" makes the system forget the peak so far.
    let before = fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| resident("VmRSS:"));
    let made = work();
    let peak = before.and_then(|_| resident("VmHWM:"));
    (made, before.zip(peak).map(|(before, peak)| (peak - before).max(0.0)))
}

/// A figure of this process in MiB.
fn resident(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    Some(kilobytes.parse::<f64>().ok()? / 1024.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_freed_again_counts() {
        let touched = || std::hint::black_box(vec![1u8; 64 << 20]).len();
        let (length, growth) = growth_of(touched);
        assert_eq!(length, 64 << 20);
        // Other tests of this process free and take memory meanwhile.
        assert!(growth.is_some_and(|growth| growth > 16.0), "{growth:?}");
    }
}
