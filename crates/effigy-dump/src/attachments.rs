//! Files that are embedded in a dump, behind its memory.

use std::io::{self, Read};

use effigy_formats::Attachment;
use effigy_process::{Gap, GapReason, GapSubject, Module, Snapshot};

use crate::output::Output;
use crate::write::Progress;

/// Bytes that are copied at a time.
const BUFFER: usize = 1 << 20;

/// A file that is to be embedded, opened while the target stood still.
pub struct OpenAttachment {
    /// What the dump's headers say of it.
    pub about: Attachment,
    file: Box<dyn Read + Send>,
}

/// Opens the image files of all modules, as far as they can be reached; gaps for those that cannot.
#[must_use]
pub fn open_attachments(snapshot: &dyn Snapshot) -> (Vec<OpenAttachment>, Vec<Gap>) {
    let mut open = Vec::new();
    let mut gaps = Vec::new();
    for module in snapshot.process().modules.iter().filter(|module| module.path != "linux-gate.so") {
        match (snapshot.open_image(module), module.file_size) {
            (Ok(file), Some(length)) => {
                let about = Attachment { name: module.path.clone(), build_id: module.build_id.clone(), length };
                open.push(OpenAttachment { about, file });
            }
            (Err(error), _) => gaps.push(image_gap(module, error.to_string())),
            (Ok(_), None) => gaps.push(image_gap(module, "its length is not known".into())),
        }
    }
    (open, gaps)
}

fn image_gap(module: &Module, detail: String) -> Gap {
    let reason = GapReason::Unreadable;
    Gap { subject: GapSubject::Fact(format!("image {}", module.path)), reason, detail }
}

/// Appends the embedded files; the target may run. A file that has become shorter is filled up with zeros, one that
/// has grown is cut: the headers have said its length.
///
/// # Errors
/// When the output fails.
pub fn append_attachments(
    attachments: Vec<OpenAttachment>,
    output: &mut dyn Output,
    progress: &Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    for OpenAttachment { about, mut file } in attachments {
        let mut left = about.length;
        while left > 0 && !progress.is_stopped() {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match file.read(&mut buffer[..want]) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    output.append(&buffer[..count])?;
                    left -= count as u64;
                }
            }
        }
        output.append_zeros(left)?;
    }
    Ok(())
}

impl OpenAttachment {
    /// A file whose bytes come from `file`.
    #[must_use]
    pub fn new(about: Attachment, file: Box<dyn Read + Send>) -> Self {
        Self { about, file }
    }
}

impl std::fmt::Debug for OpenAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAttachment").field("about", &self.about).finish_non_exhaustive()
    }
}
