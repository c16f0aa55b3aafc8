//! What a report says of the machine and the program that made it.

use std::fs;
use std::thread::available_parallelism;

use super::model::{Build, Machine};

/// This machine, as far as it tells.
#[must_use]
pub fn this_machine() -> Machine {
    let field = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let system = rustix::system::uname();
    Machine {
        processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        processors: available_parallelism().map_or(1, std::num::NonZero::get),
        memory_bytes: kib.unwrap_or_default() * 1024,
        kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
    }
}

/// This program.
#[must_use]
pub fn this_build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("CORELODE_COMMIT").to_owned(),
        is_optimized: !cfg!(debug_assertions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_processors_memory_and_a_kernel() {
        let machine = this_machine();
        assert!(machine.processors > 0 && machine.memory_bytes > 64 * 1024 * 1024, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
        assert!(!machine.processor.is_empty());
    }
}
