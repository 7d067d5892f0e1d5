//! The page of results, of which each benchmark fills its own part.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Where it is in the workspace.
pub(crate) const BENCHMARKS: &str = "docs/benchmarks.md";

/// Replaces what stands between the markers of a benchmark.
pub(crate) fn write_into(page: &Path, bench: &str, results: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = replaced(&text, bench, results)
        .with_context(|| format!("{} lacks the markers for results of bench {bench}", page.display()))?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))?;
    println!("written to {}", page.display());
    Ok(())
}

/// The page with other results of one benchmark; `None` where it has no place for them.
pub(super) fn replaced(text: &str, bench: &str, results: &str) -> Option<String> {
    let marker = |place| format!("<!-- results of `cargo xtask bench {bench}`: {place} -->");
    let (begin, end) = (marker("begin"), marker("end"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", results.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let (begin, end) =
            ("<!-- results of `cargo xtask bench x`: begin -->", "<!-- results of `cargo xtask bench x`: end -->");
        let page = format!("before\n{begin}\nold\n{end}\nafter\n");
        let page = replaced(&page, "x", "new\n").expect("markers");
        assert_eq!(page, format!("before\n{begin}\n\nnew\n\n{end}\nafter\n"));
        assert_eq!(replaced(&page, "x", "new"), Some(page.clone()));
        assert_eq!(replaced(&page, "y", "new"), None);
    }

    #[test]
    fn the_page_has_the_markers() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(BENCHMARKS);
        let text = fs::read_to_string(page).expect("the page of results");
        for bench in ["dump", "read", "stacks", "watch"] {
            assert!(replaced(&text, bench, "").is_some(), "{bench}");
        }
    }
}
