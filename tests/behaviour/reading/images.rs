//! Dumps made whole: code that a dump leaves out comes from the image files, from the right ones and from no others.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{corpus, json, list, number, read, text};
use crate::harness::{Dump, Plan, Target, compile, dump_minidump, effigy, oracle, scratch};

/// A mapping of an image: its line of `/proc/PID/maps`, in parts.
struct Mapping {
    start: u64,
    size: u64,
    protection: String,
}

/// The mappings of program images of a process.
fn images(pid: i32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines = maps.lines().filter(|line| line.contains(" /"));
    let mapping = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        Mapping { start, size: end - start, protection: rest[..4].to_owned() }
    };
    lines.map(mapping).filter(|mapping| mapping.protection.starts_with('r')).collect()
}

/// Those of code.
fn code(pid: i32) -> Vec<Mapping> {
    images(pid).into_iter().filter(|mapping| mapping.protection == "r-xp").collect()
}

fn live(pid: i32, mapping: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(mapping.size).unwrap()];
    File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut bytes, mapping.start).unwrap();
    bytes
}

/// What a dump has of a mapping, byte by byte, with further arguments.
fn bytes(dump: &Path, mapping: &Mapping, arguments: &[&str]) -> Vec<Option<u8>> {
    let (at, length) = (format!("{:#x}", mapping.start), mapping.size.to_string());
    let command = ["memory", "read", "--json", dump.to_str().unwrap(), &at, "--length", &length];
    let answer = json([&command[..], arguments].concat());
    let digits = answer["bytes"].as_str().unwrap().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).ok()).collect()
}

/// A target whose program is a file of its own, in a folder of its own.
fn target(folder: &Path) -> Target {
    let program = folder.join("program");
    fs::copy(compile("plain", &[]), &program).unwrap();
    Plan::program(&program).start()
}

fn code_of(pid: i32, path: &Path) -> Mapping {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains(" r-xp ") && line.ends_with(path.to_str().unwrap())).unwrap();
    let start = u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap();
    Mapping { start, size: 64, protection: "r-xp".to_owned() }
}

#[test]
fn a_miniplus_dump_is_made_whole_as_the_process_is() {
    let target = Plan::c("plain").start();
    for kind in ["miniplus", "mini"] {
        let dump = dump_minidump(&target, &["--kind", kind]);
        let (mut code, mut from_files) = (0, 0);
        for mapping in images(target.pid) {
            let expected = live(target.pid, &mapping);
            let alone = bytes(&dump.path, &mapping, &["--no-images"]);
            let whole = bytes(&dump.path, &mapping, &[]);
            let same = whole.iter().zip(&expected).all(|(byte, expected)| byte.is_none_or(|byte| byte == *expected));
            assert!(same, "{kind}: {:#x} {}", mapping.start, mapping.protection);
            let there = |bytes: &[Option<u8>]| bytes.iter().filter(|byte| byte.is_some()).count();
            from_files += there(&whole) - there(&alone);
            if mapping.protection == "r-xp" {
                assert_eq!(there(&whole), expected.len(), "{kind}: {:#x}", mapping.start);
                code += expected.len();
            } else if mapping.protection == "rw-p" {
                assert_eq!(there(&whole), there(&alone), "{kind}: {:#x}", mapping.start);
            }
        }
        assert!(code > 0 && from_files >= code / 2, "{kind}: {from_files} of {code}");
    }
}

#[test]
fn what_comes_from_a_file_is_said() {
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    let (path, at) = (dump.path.to_str().unwrap(), format!("{:#x}", code.start));
    let seen = text(["memory", "read", path, &at, "--length", "64"]);
    assert!(seen.contains(&format!(": from image {}", program.display())) && !seen.contains("??"), "{seen}");
    let answer = json(["memory", "read", "--json", path, &at, "--length", "64"]);
    assert_eq!(answer["from_images"][0]["path"], program.to_str().unwrap());
    assert_eq!(number(&answer["from_images"][0]["start"]), code.start);
    // The file's own bytes are found there as well.
    let needle: String = live(target.pid, &code)[..24].iter().map(|byte| format!("{byte:02x}")).collect();
    let found = json(["memory", "search", "--json", path, "--bytes", &needle]);
    assert!(list(&found["hits"]).iter().any(|hit| number(&hit["address"]) == code.start));
    let found = json(["memory", "search", "--json", path, "--bytes", &needle, "--no-images"]);
    assert!(!list(&found["hits"]).iter().any(|hit| number(&hit["address"]) == code.start));
    let answer = json(["info", "--json", path]);
    let files: Vec<_> = list(&answer["images"]["files"]).iter().map(|file| file.as_str().unwrap()).collect();
    assert!(files.contains(&program.to_str().unwrap()), "{files:?}");
    assert!(text(["info", path]).contains(" can be read from "));
    assert!(!text(["info", "--no-images", path]).contains(" can be read from "));
}

/// `regions`, and what `memory write-file` says to people, tell as well what is not the dump's.
#[test]
fn regions_and_extracted_files_tell_what_images_have() {
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    let (path, at) = (dump.path.to_str().unwrap(), format!("{:#x}", code.start));
    let answer = json(["regions", "--json", "--at", &at, path]);
    let region = &list(&answer["regions"])[0];
    let size = number(&region["end"]) - number(&region["start"]);
    assert_eq!(region["in_dump"].as_u64().unwrap() + region["from_images"].as_u64().unwrap(), size);
    assert!(region["from_images"].as_u64().unwrap() > 0);
    let one = text(["regions", "--at", &at, path]);
    assert!(one.contains("From images:") && one.contains(&format!("{}\n", program.display())), "{one}");
    assert!(text(["regions", path]).lines().nth(1).unwrap().contains("FromImages"));
    assert!(text(["regions", "--summary", path]).contains("\nFrom image files "));
    let without = json(["regions", "--json", "--no-images", "--at", &at, path]);
    assert_eq!(list(&without["regions"])[0]["from_images"], serde_json::Value::Null);
    assert!(!text(["regions", "--no-images", path]).contains("FromImages"));
    let file = folder.path().join("code.bin");
    let said = text(["memory", "write-file", path, &at, "64", "-o", file.to_str().unwrap()]);
    assert!(said.contains(&format!(": from image {}", program.display())), "{said}");
    assert_eq!(fs::read(&file).unwrap(), live(target.pid, &code)[..64]);
    // A running process has what it has.
    let running = json(["regions", "--json", "--at", &at, &target.pid_text()]);
    assert_eq!(list(&running["regions"])[0]["in_dump"], serde_json::Value::Null);
}

#[test]
fn another_version_is_refused_and_named() {
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    let (path, at) = (dump.path.to_str().unwrap(), format!("{:#x}", code.start));
    // A program that is running cannot be overwritten, and is replaced as package managers do it.
    fs::remove_file(&program).unwrap();
    fs::copy(compile("dd", &[]), &program).unwrap();
    let command = ["memory", "read", path, &at, "--length", "64"];
    let run = effigy(command).run().expect(0).says("program is not used: it has build id");
    assert!(String::from_utf8(run.stdout).unwrap().contains("not in this dump"));
    let answer = json(["memory", "read", "--json", path, &at, "--length", "64"]);
    assert_eq!(answer["missing"][0]["reason"], "not_captured");
    assert_eq!(list(&answer["from_images"]).len(), 0);
    // Nor is it when somebody points at it; the right one is.
    let (wrong, right) = (scratch(), scratch());
    fs::copy(&program, wrong.path().join("program")).unwrap();
    fs::copy(compile("plain", &[]), right.path().join("program")).unwrap();
    let named = ["--image-path", wrong.path().to_str().unwrap()];
    effigy(command).args(named).run().expect(0).says("is not used").says(wrong.path().to_str().unwrap());
    let both = format!("{}:{}", wrong.path().display(), right.path().display());
    let seen = text([&command[..], &["--image-path", &both]].concat());
    assert!(seen.contains(&format!("from image {}", right.path().display())), "{seen}");
    assert_eq!(
        bytes(&dump.path, &code, &["--image-path", &both]),
        live(target.pid, &code).into_iter().map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn without_a_file_it_is_not_captured() {
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    fs::remove_file(&program).unwrap();
    let at = format!("{:#x}", code.start);
    let run = effigy(["memory", "read", dump.path.to_str().unwrap(), &at, "--length", "16"]);
    let run = run.run().expect(0).says("no file of program with build id");
    assert!(String::from_utf8(run.stdout).unwrap().contains("?? ?? ??"));
    let missing = Dump::open(&dump.path).memory(code.start, 16);
    assert_eq!(missing, None, "the dump holds it after all");
}

#[test]
fn a_dump_made_whole_is_converted_and_compared() {
    let target = Plan::c("plain").start();
    target.stop();
    let folder = scratch();
    let paths = ["full.dmp", "small.dmp", "whole.core"].map(|name| folder.path().join(name));
    let [full, small, whole] = paths.each_ref().map(|path| path.to_str().unwrap());
    read(["dump", &target.pid_text(), "--kind", "full", "-o", full]);
    read(["dump", &target.pid_text(), "--kind", "miniplus", "-o", small]);
    let empty = scratch();
    let images = ["--image-path", empty.path().to_str().unwrap()];
    let report = json([&["convert", "--json", small, whole][..], &images].concat());
    assert!(report["image_bytes"].as_u64().unwrap() > 0, "{report}");
    for mapping in &code(target.pid) {
        let expected: Vec<_> = live(target.pid, mapping).into_iter().map(Some).collect();
        assert!(bytes(&paths[2], mapping, &["--no-images"]) == expected, "{:#x}", mapping.start);
    }
    let plain = json(["compare", "--json", full, small]);
    let filled = json([&["compare", "--json", full, small][..], &images].concat());
    let pages = |answer: &serde_json::Value, what: &str| answer["memory"][what]["pages"].as_u64().unwrap();
    assert_eq!((pages(&plain, "changed"), pages(&filled, "changed")), (0, 0));
    assert!(pages(&filled, "equal") > pages(&plain, "equal") + 50, "{filled}");
    // Without folders a dump is converted as it is.
    let report = json(["convert", "--json", small, folder.path().join("plain.dmp").to_str().unwrap()]);
    assert_eq!((report["manner"].as_str(), report.get("image_bytes")), (Some("copied"), None));
}

/// Minidumps by Breakpad, and programs of the same names that the corpus has: of another build.
#[test]
fn programs_of_another_build_are_not_used() {
    let Some(corpus) = corpus() else { return };
    let folder = scratch();
    for (dump, file) in [("crash_linux.dmp", "linux_crash"), ("crash_macos.dmp", "macos_crash")] {
        let dump = corpus.join("symbolic").join(dump);
        let dump = dump.to_str().unwrap();
        let modules = json(["modules", "--json", dump]);
        let main =
            list(&modules["modules"]).iter().find(|module| module["name"].as_str().unwrap().starts_with("crash"));
        let main = main.unwrap_or_else(|| panic!("{modules}"));
        let at = format!("{:#x}", number(&main["range"]["start"]));
        fs::copy(corpus.join("symbolic/symbols").join(file), folder.path().join(main["name"].as_str().unwrap()))
            .unwrap();
        let command = ["memory", "read", "--json", dump, &at, "--length", "64", "--image-path"];
        let answer = json([&command[..], &[folder.path().to_str().unwrap()]].concat());
        assert!(answer["bytes"].as_str().unwrap().bytes().all(|digit| digit == b'?'), "{dump}: {answer}");
        assert!(answer["source"]["warnings"].to_string().contains("is not used: it has "), "{answer}");
    }
}

/// A program of Windows, as a dump of others describes it.
#[test]
fn a_dump_of_windows_is_made_whole() {
    let Some(corpus) = corpus() else { return };
    let dump = corpus.join("breakpad/ascii_read_av.dmp");
    let dump = dump.to_str().unwrap();
    let modules = json(["modules", "--json", dump]);
    let main = &modules["modules"][0];
    let (start, pe) = (number(&main["range"]["start"]), &main["pe"]);
    let folder = scratch();
    let code = b"code of a program that somebody made for this test";
    let path = folder.path().join(main["name"].as_str().unwrap());
    let half = |field: &str| u32::try_from(pe[field].as_u64().unwrap()).unwrap();
    let file = windows_program(start, half("time_stamp"), half("size_of_image"), main["pdb"].as_object(), code);
    fs::write(&path, &file).unwrap();
    let (at, length) = (format!("{:#x}", start + 0x1000), code.len().to_string());
    let command = ["memory", "read", dump, &at, "--length", &length, "--image-path", folder.path().to_str().unwrap()];
    let seen = text(command);
    assert!(seen.contains("somebody"), "{seen}");
    assert!(seen.contains(&format!("from image {}", path.display())), "{seen}");
    let other = windows_program(start, half("time_stamp") + 1, half("size_of_image"), main["pdb"].as_object(), code);
    fs::write(&path, &other).unwrap();
    effigy(command).run().expect(0).says("is not used: it has time stamp");
}

/// A PE file for x86 with a page of code at 0x1000, which is its section's second, and nothing else but who it is.
fn windows_program(
    base: u64,
    time_stamp: u32,
    size: u32,
    pdb: Option<&serde_json::Map<String, serde_json::Value>>,
    code: &[u8],
) -> Vec<u8> {
    let mut file = vec![0; 0x600];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let half = |number: u32| number.to_le_bytes();
    put(0, b"MZ");
    put(0x3c, &half(0x40));
    put(0x40, b"PE\0\0\x4c\x01\x01\0");
    put(0x48, &half(time_stamp));
    // An optional header with 16 directories; of these the debug directory, behind the code.
    put(0x54, &[0xe0, 0, 2, 1, 0x0b, 1]);
    put(0x74, &half(u32::try_from(base).unwrap()));
    put(0x78, &half(0x1000));
    put(0x7c, &half(0x200));
    put(0x90, &half(size));
    put(0x94, &half(0x200));
    put(0xb4, &half(16));
    put(0xb8 + 6 * 8, &half(0x1100));
    put(0xbc + 6 * 8, &half(28));
    put(0x138, b".text\0\0\0");
    put(0x140, &half(0x400));
    put(0x144, &half(0x1000));
    put(0x148, &half(0x400));
    put(0x14c, &half(0x200));
    put(0x15c, &half(0x6000_0020));
    put(0x200, code);
    if let Some(pdb) = pdb {
        let guid: String = pdb["guid"].as_str().unwrap().replace('-', "");
        let digits: Vec<u8> =
            (0..16).map(|index| u8::from_str_radix(&guid[2 * index..2 * index + 2], 16).unwrap()).collect();
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        put(0x300 + 12, &half(2));
        put(0x300 + 16, &half(40));
        put(0x300 + 24, &half(0x400));
        put(0x400, b"RSDS");
        put(0x404, &order.map(|index| digits[index]));
        put(0x414, &half(u32::try_from(pdb["age"].as_u64().unwrap()).unwrap()));
    }
    file
}

/// Answers requests for the files in a map from paths to bytes, each on a connection of its own, until the test ends.
fn serve(files: Vec<(String, Vec<u8>)>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or_default();
            let file = files.iter().find(|(name, _)| name == path);
            let (status, body) = file.map_or(("404 Not Found", &[][..]), |(_, bytes)| ("200 OK", bytes));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    url
}

#[test]
fn a_server_has_what_this_machine_has_not() {
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    fs::remove_file(&program).unwrap();
    let modules = json(["modules", "--json", "--name", "program", dump.path.to_str().unwrap()]);
    let id = modules["modules"][0]["build_id"].as_str().unwrap().to_owned();
    let url = serve(vec![(format!("/buildid/{id}/executable"), fs::read(compile("plain", &[])).unwrap())]);
    let cache = scratch();
    let path = format!("DebugInfoD*{}*{url}", cache.path().display());
    let expected: Vec<_> = live(target.pid, &code).into_iter().map(Some).collect();
    let nothing: Vec<_> = expected.iter().map(|_| None).collect();
    assert_eq!(bytes(&dump.path, &code, &["--symbol-path", &path, "--offline"]), nothing);
    assert_eq!(bytes(&dump.path, &code, &["--symbol-path", &path]), expected);
    // From then on it is there, whoever asks.
    let gone = format!("DebugInfoD*{}*http://127.0.0.1:1", cache.path().display());
    assert_eq!(bytes(&dump.path, &code, &["--symbol-path", &gone, "--offline"]), expected);
    // What is no path is said to be none, in the arguments.
    let at = format!("{:#x}", code.start);
    let command = ["memory", "read", dump.path.to_str().unwrap(), &at, "--symbol-path"];
    effigy(command).arg("srv*ftp://server").run().expect(1).says("neither http nor https");
    // The environment names servers as well.
    let other = scratch();
    let run = effigy(["memory", "read", dump.path.to_str().unwrap(), &at]);
    let run = run.env("DEBUGINFOD_URLS", &url).env("XDG_CACHE_HOME", other.path().to_str().unwrap()).run().expect(0);
    assert!(run.stderr.contains("downloading") && String::from_utf8(run.stdout).unwrap().contains("from image"));
}

/// A debuginfod of elfutils, which finds the program in a folder of its own.
#[test]
fn a_debuginfod_has_it() {
    let Some(debuginfod) = oracle("debuginfod") else { return };
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    let store = scratch();
    fs::rename(&program, store.path().join("program")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let mut server = Command::new(debuginfod);
    server.args(["-p", &port, "-d", ":memory:", "-F"]).arg(store.path());
    let server = Server(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let cache = scratch();
    let path = format!("DebugInfoD*{}*http://127.0.0.1:{port}", cache.path().display());
    let expected: Vec<_> = live(target.pid, &code).into_iter().map(Some).collect();
    // It takes a moment to find what is in its folder.
    let deadline = Instant::now() + Duration::from_secs(60);
    while bytes(&dump.path, &code, &["--symbol-path", &path]) != expected {
        assert!(Instant::now() < deadline, "the debuginfod has nothing");
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(server);
}

/// A server's process, which ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that speaks TLS, with a certificate that the test makes and declares to be good.
#[test]
fn a_server_behind_tls_is_asked() {
    let Some(openssl) = oracle("openssl") else { return };
    let folder = scratch();
    let target = target(folder.path());
    let dump = dump_minidump(&target, &["--kind", "miniplus"]);
    let program = folder.path().join("program");
    let code = code_of(target.pid, &program);
    let modules = json(["modules", "--json", "--name", "program", dump.path.to_str().unwrap()]);
    let id = modules["modules"][0]["build_id"].as_str().unwrap().to_owned();
    let store = scratch();
    let place = store.path().join("buildid").join(&id);
    fs::create_dir_all(&place).unwrap();
    fs::rename(&program, place.join("executable")).unwrap();
    let request = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
                   -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE";
    let made = Command::new(&openssl).args(request.split_whitespace()).current_dir(store.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut server = Command::new(&openssl);
    server.args(["s_server", "-quiet", "-key", "key.pem", "-cert", "cert.pem", "-WWW", "-accept", &port.to_string()]);
    server.current_dir(store.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Server(server.spawn().unwrap());
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let cache = scratch();
    let path = format!("DebugInfoD*{}*https://localhost:{port}", cache.path().display());
    let at = format!("{:#x}", code.start);
    let command = ["memory", "read", dump.path.to_str().unwrap(), &at, "--symbol-path", &path];
    // Nobody vouches for it.
    effigy(command).run().expect(0).says("certificate");
    let certificate = store.path().join("cert.pem");
    let run = effigy(command).env("SSL_CERT_FILE", certificate.to_str().unwrap()).run().expect(0);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("from image") && !text.contains("??"), "{text}{}", run.stderr);
}
