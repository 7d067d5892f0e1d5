//! `/proc/PID/limits`: proc_pid_limits(5).

use bstr::ByteSlice;
use effigy_process::Limit;

/// Takes the file's table apart. Its columns are 25, 20, 20 and 10 wide (`proc_pid_limits`, fs/proc/base.c).
#[must_use]
pub fn parse_limits(bytes: &[u8]) -> Vec<Limit> {
    bytes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let line = line.to_str().ok()?;
            let (name, rest) = line.split_at_checked(26)?;
            let mut columns = rest.split_ascii_whitespace();
            Some(Limit {
                name: name.trim().to_owned(),
                soft: columns.next()?.parse().ok(),
                hard: columns.next()?.parse().ok(),
                units: columns.next().unwrap_or("").to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlimited_is_none() {
        let text = b"Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max cpu time              unlimited            unlimited            seconds   \n\
                     Max open files            1024                 524288               files     \n\
                     Max nice priority         0                    0                    \n";
        let limits = parse_limits(text);
        assert_eq!(limits.len(), 3);
        assert_eq!(limits[0].soft, None);
        assert_eq!((limits[1].name.as_str(), limits[1].hard), ("Max open files", Some(524_288)));
        assert_eq!(limits[2].units, "");
    }
}
