//! Installing oracles, as far as this machine and this user can: with apt-get when root, with cargo always.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::interrupt::Interrupt;
use crate::oracles::{Oracle, Source, find_program, missing};
use crate::step;
use crate::workspace::{Workspace, cargo};

/// Installs what is missing. What cannot be installed stays missing; the caller looks again and says so.
pub(crate) fn install(workspace: &Workspace, search_path: &OsStr, interrupt: &Interrupt) -> Result<()> {
    let missing = missing(search_path);
    let packages = packages_of(&missing);
    if !packages.is_empty() {
        install_packages(&packages, search_path, interrupt)?;
    }
    for oracle in missing {
        interrupt.check()?;
        if let Source::Cargo { krate, version } = oracle.source {
            install_crate(workspace, krate, version)?;
        }
    }
    Ok(())
}

fn packages_of(missing: &[&Oracle]) -> BTreeSet<&'static str> {
    let lists = missing.iter().filter_map(|oracle| match oracle.source {
        Source::Packages(packages) => Some(packages),
        Source::Cargo { .. } => None,
    });
    lists.flatten().copied().collect()
}

fn install_packages(packages: &BTreeSet<&str>, search_path: &OsStr, interrupt: &Interrupt) -> Result<()> {
    let wanted = packages.iter().copied().collect::<Vec<_>>().join(" ");
    if find_program("apt-get", search_path).is_none() {
        step::announce(&format!("packages not installed, there is no apt-get here: {wanted}"));
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        step::announce(&format!("packages not installed, only root may: {wanted}"));
        return Ok(());
    }
    let _quiet = ServicesStayDown::guard(Path::new("/usr/sbin/policy-rc.d"))?;
    step::announce("apt-get update");
    step::run(apt_get().arg("update"))?;
    interrupt.check()?;
    step::announce(&format!("apt-get install {wanted}"));
    if step::run(apt_get().arg("install").args(packages))?.passed() {
        return Ok(());
    }
    // One name that this distribution does not know fails them all: find out which.
    for package in packages {
        interrupt.check()?;
        step::announce(&format!("apt-get install {package}"));
        if !step::run(apt_get().arg("install").arg(package))?.passed() {
            step::announce(&format!("cannot install package {package}"));
        }
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "--yes", "--no-install-recommends"]);
    command.args(["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

fn install_crate(workspace: &Workspace, krate: &str, version: &str) -> Result<()> {
    step::announce(&format!("cargo install {krate} {version} (once; takes minutes)"));
    let mut command = cargo();
    command.args(["install", "--quiet", "--locked", "--version", version, "--root"]).arg(workspace.oracles());
    // Nobody waits for what these do, only for their being built.
    for (setting, value) in [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "none")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    // Not among our own builds, and not in a folder for temporary files that may be small.
    let build = workspace.oracles().join("build");
    command.arg("--target-dir").arg(&build).arg(krate);
    let outcome = step::run(&mut command);
    if build.exists() {
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    }
    if !outcome?.passed() {
        step::announce(&format!("cannot install {krate} {version}"));
    }
    Ok(())
}

/// While this lives, Debian's packages do not start the services they bring: a test machine is not to begin serving databases.
struct ServicesStayDown<'a> {
    ours: Option<&'a Path>,
}

impl<'a> ServicesStayDown<'a> {
    /// Puts up Debian's sign for it (invoke-rc.d(8): exit status 101 means "not allowed"), unless one is there already.
    fn guard(policy: &'a Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(policy);
        let mut file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(Self { ours: None }),
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", policy.display())),
        };
        let guard = Self { ours: Some(policy) };
        file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(guard)
    }
}

impl Drop for ServicesStayDown<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.ours
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("cannot remove {}: {error}; services will not start until it is gone", policy.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_allowed_again_afterwards() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let policy = folder.path().join("policy-rc.d");
        let guard = ServicesStayDown::guard(&policy).expect("a guard");
        assert!(policy.exists());
        drop(guard);
        assert!(!policy.exists());
    }

    #[test]
    fn somebody_elses_policy_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let policy = folder.path().join("policy-rc.d");
        fs::write(&policy, "theirs").expect("a file");
        drop(ServicesStayDown::guard(&policy).expect("a guard"));
        assert_eq!(fs::read_to_string(&policy).expect("the file"), "theirs");
    }
}
