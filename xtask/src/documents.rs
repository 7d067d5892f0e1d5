//! Checks that the documents of the project keep up with it.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Names of the crates in `[workspace.dependencies]` that are not our own.
fn dependencies() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("[workspace.dependencies]\n").expect("a table of dependencies");
    let table = rest.split("\n[").next().unwrap_or_default();
    let entries = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    entries.filter(|(_, value)| !value.contains("path = ")).map(|(name, _)| name.trim().to_owned()).collect()
}

#[test]
fn every_dependency_stands_in_its_document() {
    let document = read("docs/dependencies.md");
    let dependencies = dependencies();
    assert!(dependencies.len() > 10, "only {dependencies:?} were found in Cargo.toml");
    let undocumented: Vec<_> = dependencies
        .iter()
        .filter(|name| !document.lines().any(|line| line.starts_with(&format!("| `{name}` |"))))
        .collect();
    assert!(undocumented.is_empty(), "docs/dependencies.md has no row for {undocumented:?}");
}

#[test]
fn no_row_outlives_its_dependency() {
    let dependencies = dependencies();
    let document = read("docs/dependencies.md");
    let names = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(name, _)| name));
    let stale: Vec<_> = names.filter(|name| !dependencies.iter().any(|found| found == name)).collect();
    assert!(stale.is_empty(), "docs/dependencies.md explains {stale:?}, which Cargo.toml does not have");
}

#[test]
fn every_oracle_stands_in_its_document() {
    let document = read("docs/testing.md");
    let missing: Vec<_> = crate::oracles::ORACLES
        .iter()
        .map(|oracle| oracle.name)
        .filter(|name| !document.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/testing.md has no row for {missing:?}");
}

#[test]
fn every_crate_stands_in_the_map() {
    let map = read("docs/architecture.md");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let names: Vec<String> = fs::read_dir(crates)
        .expect("the folder of crates")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .chain(["xtask".to_owned()])
        .collect();
    let missing: Vec<_> = names.iter().filter(|name| !map.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/architecture.md has no row for {missing:?}");
}

/// The first command that a newcomer types must know which program it means.
#[test]
fn the_command_of_the_readme_finds_its_program() {
    assert!(read("README.md").contains("cargo run --release -- demo"), "README.md shows another command now");
    let workspace = read("Cargo.toml");
    let default = workspace.lines().find_map(|line| line.strip_prefix("default-members = "));
    assert_eq!(default, Some("[\"crates/effigy\"]"), "cargo run would not know what to run");
}
