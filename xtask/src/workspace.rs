//! Where the workspace is and what is in it, as cargo tells.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::step;

/// The part of `cargo metadata` that the chores need.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    #[serde(rename = "target_directory")]
    target: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    features: BTreeMap<String, Vec<String>>,
}

impl Workspace {
    /// The workspace that holds the current directory.
    pub(crate) fn load() -> Result<Self> {
        let text = step::output_of(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_str(&text).context("cannot read what `cargo metadata` printed")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where programs that are built for the tests are installed, whatever cargo's own folder for builds is.
    pub(crate) fn oracles(&self) -> PathBuf {
        self.root.join("target/oracles")
    }

    pub(crate) fn has_feature(&self, package: &str, feature: &str) -> bool {
        self.packages.iter().any(|found| found.name == package && found.features.contains_key(feature))
    }

    /// `PATH` with our own oracles before everything else.
    pub(crate) fn search_path(&self) -> Result<OsString> {
        let inherited = env::var_os("PATH").unwrap_or_default();
        let ours = self.oracles().join("bin");
        env::join_paths(std::iter::once(ours).chain(env::split_paths(&inherited))).context("cannot extend PATH")
    }
}

/// The cargo that started us, or the one in `PATH`.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
