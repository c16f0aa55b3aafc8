//! Where things are: the root of the repository, cargo, and the tools that `setup` installs.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The repository, seen from its root.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Where cargo builds: `CARGO_TARGET_DIR`, or `target/` under the root.
    pub(crate) target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// The repository that this program was built from.
    pub(crate) fn locate() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask/ lies one level under the repository's root")
            .to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path));
        // Cargo names itself to the programs it runs, so that a chosen toolchain stays chosen.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { root, target, cargo }
    }

    /// A cargo command in the root of the repository.
    pub(crate) fn cargo(&self) -> Command {
        self.in_root(&self.cargo)
    }

    /// Any program, started in the root of the repository.
    pub(crate) fn in_root(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Tools that `setup` installs for this repository alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}

/// Whether nothing may be skipped: set by `.ci/run`, and by most services that run such scripts.
pub(crate) fn is_ci() -> bool {
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    is("CORELODE_CI", "1") || is("CI", "true")
}
