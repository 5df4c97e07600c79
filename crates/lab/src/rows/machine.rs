//! The machine a row was measured on, as the operating system tells it.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a measurement's speed depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor, or the architecture where the system does not tell it.
    pub cpu: String,
    /// Logical cores this process may use.
    pub cores: usize,
    /// Threads the measurement used.
    pub threads: usize,
    /// Instruction set the kernels chose (`avx512`, `avx2`, `scalar`).
    pub simd: String,
    /// Memory of the machine in bytes, where the system tells it.
    pub memory_bytes: Option<u64>,
    /// Operating system and its version.
    pub os: String,
}

impl Machine {
    /// Asks the operating system. The caller says how many threads it uses and which instruction set its kernels chose.
    pub fn detect(threads: usize, simd: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(threads, usize::from),
            threads,
            simd: simd.to_owned(),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            os: os_name(&read("/etc/os-release"), &read("/proc/sys/kernel/osrelease")),
        }
    }
}

/// The value of `key` in lines of the form `key <separator> value`.
fn field<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().trim_matches('"'))
        .filter(|value| !value.is_empty())
}

/// The processor's name in `/proc/cpuinfo` (x86 says `model name`, some ARM boards `Model`).
fn cpu_model(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name", ':').or_else(|| field(cpuinfo, "Model", ':')).map(str::to_owned)
}

/// `MemTotal` of `/proc/meminfo`, which counts in units of 1024 bytes.
fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kibibytes: u64 = field(meminfo, "MemTotal", ':')?.strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// `PRETTY_NAME` of `/etc/os-release` and the kernel's release, or the family's name.
fn os_name(os_release: &str, kernel: &str) -> String {
    let family = std::env::consts::OS;
    let name = field(os_release, "PRETTY_NAME", '=').unwrap_or(family);
    match kernel.trim() {
        "" => name.to_owned(),
        kernel => format!("{name}, {family} {kernel}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Example(R) CPU @ 2.10GHz\n";
        assert_eq!(cpu_model(cpuinfo).as_deref(), Some("Example(R) CPU @ 2.10GHz"));
        assert_eq!(memory_bytes("MemTotal:       24585084 kB\nMemFree: 1 kB\n"), Some(24_585_084 * 1024));
        let name = os_name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n", "6.1.0\n");
        assert!(name.starts_with("Debian 12, ") && name.ends_with(" 6.1.0"), "{name}");
    }

    #[test]
    fn says_less_where_the_system_says_nothing() {
        assert_eq!(cpu_model(""), None);
        assert_eq!(memory_bytes("MemTotal: many kB"), None);
        assert_eq!(memory_bytes("MemTotal: 18446744073709551615 kB"), None);
        assert_eq!(os_name("", ""), std::env::consts::OS);
        let machine = Machine::detect(3, "scalar");
        assert!(!machine.cpu.is_empty() && machine.cores >= 1);
        assert_eq!((machine.threads, machine.simd.as_str()), (3, "scalar"));
    }
}
