//! Compressed dumps and reflection pairs, made of small dumps.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

/// What compresses, how many bytes of the result the target has itself, and the number by which it knows the way.
const WAYS: [(&str, usize, u8); 3] = [("zstd", 4, 0), ("gzip", 3, 1), ("xz", 6, 2)];

/// For the target `compressed`: what three programs make of dumps, and dumps for the container.
pub(super) fn compressed(dumps: &[Vec<u8>], search_path: &OsStr) -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (program, known, way) in WAYS {
        for dump in dumps {
            let Some(packed) = packed(program, dump, search_path)? else {
                println!("    no seeds of {program}: it is not there");
                break;
            };
            seeds.push([&[way], packed.get(known..).unwrap_or_default()].concat());
        }
    }
    // No changes of the table, then the contents.
    seeds.extend(dumps.iter().map(|dump| [&[3; 1][..], &[0; 12], dump].concat()));
    Ok(seeds)
}

/// What a program makes of its standard input; `None` when there is no such program.
fn packed(program: &str, bytes: &[u8], search_path: &OsStr) -> Result<Option<Vec<u8>>> {
    let mut command = Command::new(program);
    command.arg("-c").env("PATH", search_path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot run {program}")),
    };
    let input = child.stdin.take();
    let output = thread::scope(|scope| {
        // One that reads no more says so by how it ends.
        scope.spawn(|| input.map(|mut input| input.write_all(bytes)));
        child.wait_with_output()
    });
    let output = output.with_context(|| format!("cannot wait for {program}"))?;
    anyhow::ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(Some(output.stdout))
}

/// For the target `reflection`: a configuration, and a dump as both files of the pair.
pub(super) fn pairs(dumps: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let texts: [&[u8]; 3] = [
        b"default=a.dmp\nmemory=b.dmp\n",
        b"default=a.dmp\r\nmodule=a.dmp\r\nmemory=\"b.dmp\"\r\n",
        b"; of two\nmemory = b.dmp\nDEFAULT=C:\\dumps\\a.dmp\n",
    ];
    let mut seeds = Vec::new();
    for (index, dump) in dumps.iter().filter(|dump| dump.starts_with(b"MDMP")).enumerate() {
        let text = texts[index % texts.len()];
        let [low, high] = u16::try_from(text.len()).unwrap_or(0).to_le_bytes();
        // The two are as long, so that the first ends at 128 of 256 parts.
        seeds.push([&[low, high, 128], text, dump, dump].concat());
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_cut_where_the_second_begins() {
        let dump = [&b"MDMP"[..], &[7; 100]].concat();
        let seed = pairs(std::slice::from_ref(&dump)).remove(0);
        let (head, rest) = seed.split_at(3);
        let dumps = &rest[usize::from(u16::from_le_bytes([head[0], head[1]])) % 512..];
        let (first, second) = dumps.split_at(dumps.len() * usize::from(head[2]) / 256);
        assert_eq!((first, second), (&dump[..], &dump[..]));
    }
}
