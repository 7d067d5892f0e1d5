//! `effigy memory write-file`: memory as a file.

use std::ops::ControlFlow;

use effigy_dump::output::{FileWriter, Output};
use effigy_dump::sink::{PartialFile, size};
use effigy_process::AddressRange;
use serde::Serialize;

use super::read::{look, tell_images, tell_missing};
use crate::cli::WriteFileArgs;
use crate::exit::Exit;
use crate::print::{self, Page};
use crate::stretches::{self, Missing};
use crate::subject::{FromImage, Refused, Subject};
use crate::words;

/// The answer as JSON; docs/json.md describes it.
#[derive(Debug, Serialize)]
struct Answer {
    path: String,
    #[serde(flatten)]
    range: AddressRange,
    bytes: u64,
    /// Bytes that are zeros as there were none.
    filled_bytes: u64,
    missing: Vec<Missing>,
    /// What comes from image files.
    from_images: Vec<FromImage>,
}

/// Gives the answer.
pub(super) fn answer(args: &WriteFileArgs) -> Result<Exit, Refused> {
    let mut subject = Subject::open(&args.target.target, look(&args.address))?;
    let range = AddressRange::sized(subject.address(&args.address, args.thread)?, args.length);
    subject.fill(&args.images, Some(range))?;
    subject.say_warnings();
    if range.size() < args.length {
        return Err((Exit::Usage, format!("{} bytes from {} on go beyond all addresses", args.length, range.start())));
    }
    let file = PartialFile::create(&args.output, args.overwrite).map_err(|error| failed(&error))?;
    let mut writer = file.writer().map_err(|error| failed(&error))?;
    let (missing, outcome) = copy(&subject, range, args.fill, &mut writer);
    if !missing.is_empty() && !args.fill {
        return Err((Exit::Output, refusal(&subject, &missing)));
    }
    outcome.and_then(|()| writer.finish()).map_err(|error| failed(&error))?;
    let published = file.publish().map_err(|error| failed(&error))?;
    let filled_bytes = missing.iter().map(|part| part.range.size()).sum();
    let exit = if missing.is_empty() { Exit::Done } else { Exit::Partial };
    let answer = Answer {
        path: published.path.to_string_lossy().into_owned(),
        range,
        bytes: range.size(),
        filled_bytes,
        missing,
        from_images: subject.image_parts(range),
    };
    Ok(exit.and(tell(&subject, answer, args.target.json)))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Refused {
    (Exit::Output, print::chain(error))
}

/// Copies memory, and gives what is missing. Without `fill` nothing is written any more once something is.
fn copy(
    subject: &Subject,
    range: AddressRange,
    fill: bool,
    writer: &mut FileWriter,
) -> (Vec<Missing>, std::io::Result<()>) {
    let mut outcome = Ok(());
    let mut whole = true;
    let missing = stretches::visit(subject, range, |part, bytes| {
        whole &= bytes.is_ok();
        outcome = match bytes {
            _ if !whole && !fill => Ok(()),
            Ok(bytes) => writer.append(bytes),
            Err(_) => writer.append_zeros(part.size()),
        };
        if outcome.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (missing, outcome)
}

fn refusal(subject: &Subject, missing: &[Missing]) -> String {
    let mut text = "nothing was written, as some of it is not there; --fill writes zeros in its place:".to_owned();
    for part in missing.iter().take(20) {
        text = format!("{text}\n  {}: {}", words::range(subject.process(), part.range), part.reason);
    }
    if missing.len() > 20 {
        text = format!("{text}\n  and {} ranges more", missing.len() - 20);
    }
    text
}

fn tell(subject: &Subject, answer: Answer, json: bool) -> Exit {
    let mut page = Page::begin();
    if json {
        page.json(&subject.document(answer));
        return page.finish();
    }
    let path = print::safe(answer.path.as_bytes());
    page.line(format!("wrote {path}: {} of {}", size(answer.bytes), words::range(subject.process(), answer.range)));
    if answer.filled_bytes > 0 {
        page.line(format!("{} of it are zeros, as there is nothing:", size(answer.filled_bytes)));
        tell_missing(subject.process(), &answer.missing, &mut page);
    }
    tell_images(subject, answer.range, &mut page);
    page.finish()
}
