//! Where a region's bytes are, and when its pages were counted.

use std::time::SystemTime;

use effigy_process::AddressRange;
use serde::Serialize;

use crate::print;
use crate::stretches;
use crate::subject::Subject;

/// How much of a range a dump holds, and how much of the rest image files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Held {
    /// Bytes; `None` for a running process, which has what it has.
    pub(super) in_dump: Option<u64>,
    /// Bytes; `None` where no image files were looked for.
    pub(super) from_images: Option<u64>,
}

impl Held {
    /// What there is of a range. The memory that is looked at is the dump's alone: nothing is taken from images here.
    pub(super) fn of(subject: &Subject, range: AddressRange) -> Self {
        let images = subject.images().map(|images| images.files().within(range));
        Self {
            in_dump: subject.dump().map(|_| stretches::captured_bytes(subject, range)),
            from_images: images.map(|parts| parts.map(|(part, _)| part.size()).sum()),
        }
    }
}

/// When the regions' memory was counted, for JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Counted {
    #[serde(serialize_with = "effigy_process::text::unix_seconds_option")]
    unix: Option<SystemTime>,
    /// Whether the process stood still meanwhile.
    while_stopped: bool,
}

impl Counted {
    /// `None` where nothing was counted.
    pub(super) fn of(subject: &Subject) -> Option<Self> {
        let moment = subject.process().regions_counted?;
        Some(Self { unix: moment.time, while_stopped: moment.while_stopped })
    }
}

/// When a dump's regions were counted, in words: not at its instant. `None` for a running process: just now.
pub(super) fn when_counted(subject: &Subject) -> Option<String> {
    subject.dump()?;
    let process = subject.process();
    let moment = process.regions_counted?;
    if moment.while_stopped {
        return Some("while the process stood still for the dump".to_owned());
    }
    let before = moment.time.zip(process.captured).and_then(|(then, captured)| captured.duration_since(then).ok());
    let before = before.map(|before| format!("{} ", print::duration(before))).unwrap_or_default();
    Some(format!("{before}before the dump's instant, while the process ran"))
}
