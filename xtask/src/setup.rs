//! Installs what the other commands need, pinned, and only what is missing: `flatc` and nextest for this repository
//! alone (under `target/tools/`), and a few Debian packages for the whole machine when we are root there.

mod debian;
pub(crate) mod flatc;
pub(crate) mod nextest;

use crate::{failure::Failure, workspace::Workspace};

/// Installs what is missing and says so; a second run finds everything in place.
pub(crate) fn setup(workspace: &Workspace) -> Result<(), Failure> {
    debian::install_packages(workspace)?;
    debian::fetch_index(workspace)?;
    flatc::install(workspace)?;
    nextest::install(workspace)
}
