//! What files are called: by ProcDump for Windows (`NAME_YYMMDD_HHMMSS.dmp`) when it is asked for one of its kinds of
//! minidump, else by ProcDump for Linux (`NAME_TYPE_YYMMDD_HHMMSS.PID`).

use std::path::PathBuf;

use effigy_dump::name::NameParts;
use effigy_watch::session::Order;
use jiff::Zoned;

/// How files of a watch are called.
#[derive(Debug)]
pub(crate) struct Naming {
    pub(super) like_windows: bool,
    /// A folder or a file.
    pub(super) place: Option<PathBuf>,
}

impl Naming {
    /// The file of a dump; one of that name that exists gets a number. `exception` is the number of the signal that it is
    /// for, 0 for none.
    pub(crate) fn path(&self, order: &Order, exception: u32) -> PathBuf {
        self.path_at(order, exception, Zoned::now())
    }

    fn path_at(&self, order: &Order, exception: u32, time: Zoned) -> PathBuf {
        let parts = NameParts { process: order.name.to_vec(), pid: order.pid.0, exception, time };
        let usual = if self.like_windows {
            parts.fill("PROCESSNAME_YYMMDD_HHMMSS.dmp")
        } else {
            // What the trigger is called is no part of the pattern: a process may be named as a placeholder is.
            parts.fill(&format!("PROCESSNAME_{}_YYMMDD_HHMMSS.PID", kind(order)))
        };
        let Some(place) = &self.place else { return usual.into() };
        if place.is_dir() || place.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return place.join(usual);
        }
        let mut path = place.clone();
        match place.file_name().and_then(|name| name.to_str()) {
            Some(name) if self.like_windows => {
                path.set_file_name(parts.fill(name));
                if path.extension().is_none() {
                    path.set_extension("dmp");
                }
            }
            _ => path.as_mut_os_string().push(format!(".{}", order.pid)),
        }
        path
    }
}

/// ProcDump's word for the trigger; those that it does not have are manual dumps.
fn kind(order: &Order) -> &'static str {
    match order.cause.kind {
        "hang" | "text" => "manual",
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use effigy_process::{Journal, ProcessId};
    use effigy_watch::trigger::Cause;

    use super::*;

    fn named(like_windows: bool, place: Option<&str>) -> String {
        let order = Order {
            pid: ProcessId(42),
            name: "my app".into(),
            started: std::time::Duration::ZERO,
            number: 1,
            cause: Cause { what: String::new(), thread: None, kind: "cpu" },
            journal: Journal::default(),
            grip: None,
        };
        let time = jiff::civil::date(2026, 11, 21).at(3, 4, 5, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let naming = Naming { like_windows, place: place.map(PathBuf::from) };
        naming.path_at(&order, 11, time).to_str().unwrap().to_owned()
    }

    #[test]
    fn names() {
        assert_eq!(named(true, None), "my_app_261121_030405.dmp");
        assert_eq!(named(false, None), "my_app_cpu_261121_030405.42");
        assert_eq!(named(true, Some("/nowhere/")), "/nowhere/my_app_261121_030405.dmp");
        assert_eq!(named(true, Some("/x/a_PID")), "/x/a_42.dmp");
        assert_eq!(named(true, Some("/x/a_EXCEPTIONCODE.dmp")), "/x/a_0000000B.dmp");
        assert_eq!(named(false, Some("/x/core")), "/x/core.42");
    }
}
