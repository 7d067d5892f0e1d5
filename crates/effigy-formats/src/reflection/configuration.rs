//! The text of a configuration file.
//!
//! It is read as Windows reads such files (`GetPrivateProfileString`): names of sections and keys in any case, blanks
//! around keys and values, one pair of quotes around a value. Stricter in one thing: a key that is there twice is an
//! error, as nobody can know which was meant. More lenient in one: a comment may follow a value.

use std::fmt;

use super::ConfigurationError;

/// Most bytes that a configuration file may have. Three paths of the greatest length that Windows knows, in UTF-16, take
/// less than 200 KiB.
pub const LARGEST: u64 = 256 << 10;

const SECTION: &str = "UserModeDump";
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_LITTLE_MARK: [u8; 2] = [0xff, 0xfe];
const UTF16_BIG_MARK: [u8; 2] = [0xfe, 0xff];

/// A key of the section `[UserModeDump]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The dump with threads and everything else that has no key of its own.
    Default,
    /// The dump with the memory.
    Memory,
    /// The dump with the modules.
    Module,
}

impl Key {
    /// All keys, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Default, Self::Memory, Self::Module];

    /// Its spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Memory => "memory",
            Self::Module => "module",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a configuration file says: names of dumps, as they are written there. Where they lead: [`Configuration::files`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The dump with threads and everything else that has no key of its own.
    pub default: String,
    /// The dump with the memory.
    pub memory: String,
    /// The dump with the modules; the same as `default` where the file does not say.
    pub module: String,
}

/// Whether a file that begins with these bytes is a configuration file: the first thing in it but comments is the
/// section `[UserModeDump]`. A few hundred bytes are enough; they may end in the middle of a character.
#[must_use]
pub fn is_configuration(start: &[u8]) -> bool {
    let (encoding, text) = Encoding::of(start);
    let (text, _) = encoding.decode(text);
    text.lines().map(Line::of).find(|line| *line != Line::Nothing) == Some(Line::Section(SECTION))
}

impl Configuration {
    /// Reads a configuration file, which is all of `bytes`.
    ///
    /// # Errors
    /// When it is not one, or does not name the dumps.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        let size = bytes.len() as u64;
        if size > LARGEST {
            return Err(ConfigurationError::TooLarge { size, limit: LARGEST });
        }
        let (encoding, text) = Encoding::of(bytes);
        let mark = size - text.len() as u64;
        let (text, wrong) = encoding.decode(text);
        if let Some(at) = wrong {
            return Err(ConfigurationError::Encoding { encoding: encoding.name(), offset: mark + at as u64 });
        }
        let mut found: [Option<String>; 3] = [const { None }; 3];
        let (mut inside, mut seen) = (false, false);
        for (index, line) in text.lines().enumerate() {
            match Line::of(line) {
                Line::Section(name) => {
                    inside = name == SECTION;
                    seen |= inside;
                }
                Line::Pair(key, value) if inside => {
                    let value = checked(key, value, index + 1)?;
                    let place = &mut found[key as usize];
                    if place.is_some() {
                        return Err(ConfigurationError::Duplicate { key, line: index + 1 });
                    }
                    *place = Some(value);
                }
                Line::Pair(..) | Line::Nothing => {}
            }
        }
        if !seen {
            return Err(ConfigurationError::NoSection);
        }
        let [default, memory, module] = found;
        let present = |value: Option<String>, key| {
            value.filter(|value| !value.is_empty()).ok_or(ConfigurationError::Missing { key })
        };
        let default = present(default, Key::Default)?;
        let memory = present(memory, Key::Memory)?;
        let module = module.filter(|value| !value.is_empty()).unwrap_or_else(|| default.clone());
        Ok(Self { default, memory, module })
    }

    /// The file's bytes, with line ends as ProcDump writes them. Where all names are ASCII, so is the file; otherwise it is
    /// UTF-16 with a mark, which is what Windows takes for anything but the code page of the day.
    ///
    /// # Errors
    /// When a name would not be read back as it is.
    pub fn render(&self) -> Result<Vec<u8>, ConfigurationError> {
        let mut text = format!("[{SECTION}]\r\n");
        for key in Key::ALL {
            let value = quoted(self.get(key)).ok_or(ConfigurationError::Inexpressible { key })?;
            text.push_str(&format!("{key}={value}\r\n"));
        }
        let bytes = if text.is_ascii() {
            text.into_bytes()
        } else {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            UTF16_LITTLE_MARK.into_iter().chain(units).collect()
        };
        match Self::parse(&bytes) {
            Ok(read) if read == *self => Ok(bytes),
            Ok(read) => {
                let differs = |key: &Key| read.get(*key) != self.get(*key);
                let key = Key::ALL.into_iter().find(differs).unwrap_or(Key::Default);
                Err(ConfigurationError::Inexpressible { key })
            }
            Err(ConfigurationError::Missing { key } | ConfigurationError::NoFile { key, .. }) => {
                Err(ConfigurationError::Inexpressible { key })
            }
            Err(error) => Err(error),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: Key) -> &str {
        match key {
            Key::Default => &self.default,
            Key::Memory => &self.memory,
            Key::Module => &self.module,
        }
    }
}

/// A value that could be a file's name, or is empty.
fn checked(key: Key, value: &str, line: usize) -> Result<String, ConfigurationError> {
    let is_file = value.is_empty() || super::files::names_a_file(value);
    if !is_file || value.contains(char::is_control) {
        return Err(ConfigurationError::NoFile { key, line });
    }
    Ok(value.to_owned())
}

/// How the bytes of a file are text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Little,
    Utf16Big,
}

impl Encoding {
    /// The encoding of a file, and its bytes without the mark that says so. Without one, a second byte of zero is the
    /// upper half of the character with which UTF-16 begins: all that a configuration file begins with is ASCII.
    fn of(bytes: &[u8]) -> (Self, &[u8]) {
        match bytes {
            [first, second, rest @ ..] if [*first, *second] == UTF16_LITTLE_MARK => (Self::Utf16Little, rest),
            [first, second, rest @ ..] if [*first, *second] == UTF16_BIG_MARK => (Self::Utf16Big, rest),
            [_, 0, ..] => (Self::Utf16Little, bytes),
            _ => (Self::Utf8, bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Little | Self::Utf16Big => "UTF-16",
        }
    }

    /// The text, with a replacement for what is none, and where the first such thing is, in bytes.
    fn decode(self, bytes: &[u8]) -> (String, Option<usize>) {
        let number = match self {
            Self::Utf8 => {
                let wrong = std::str::from_utf8(bytes).err().map(|error| error.valid_up_to());
                return (String::from_utf8_lossy(bytes).into_owned(), wrong);
            }
            Self::Utf16Little => u16::from_le_bytes,
            Self::Utf16Big => u16::from_be_bytes,
        };
        let (units, rest) = bytes.as_chunks::<2>();
        let (mut text, mut done, mut wrong) = (String::new(), 0, None);
        for letter in char::decode_utf16(units.iter().map(|unit| number(*unit))) {
            if letter.is_err() {
                wrong = wrong.or(Some(done * 2));
            }
            let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
            done += letter.len_utf16();
            text.push(letter);
        }
        (text, wrong.or((!rest.is_empty()).then_some(done * 2)))
    }
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    /// The beginning of a section; [`SECTION`] however it is spelt.
    Section(&'a str),
    /// A key that is known, and its value.
    Pair(Key, &'a str),
    /// Blank, a comment, or of no interest.
    Nothing,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default().trim();
            return Self::Section(if name.eq_ignore_ascii_case(SECTION) { SECTION } else { name });
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(';')) else { return Self::Nothing };
        let known = Key::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(key.trim()));
        known.map_or(Self::Nothing, |key| Self::Pair(key, unquoted(value.trim())))
    }
}

/// A value without the quotes around it, or the comment behind it.
fn unquoted(value: &str) -> &str {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let inner = quote.and_then(|quote| {
        let (inner, rest) = value[1..].split_once(quote)?;
        (rest.is_empty() || is_comment(rest)).then_some(inner)
    });
    inner.unwrap_or_else(|| without_comment(value))
}

/// Whether what follows a closing quote is a comment.
fn is_comment(rest: &str) -> bool {
    rest.trim_start().starts_with(';')
}

/// A value up to a `;` that is its beginning or follows a blank. One within a name belongs to that.
fn without_comment(value: &str) -> &str {
    let mut blank = true;
    for (at, letter) in value.char_indices() {
        if letter == ';' && blank {
            return value[..at].trim_end();
        }
        blank = letter.is_whitespace();
    }
    value
}

/// The value as it has to be written for [`unquoted`] to give it back; `None` when there is no way.
fn quoted(value: &str) -> Option<String> {
    if unquoted(value.trim()) == value {
        return Some(value.to_owned());
    }
    let quote = ['"', '\''].into_iter().find(|quote| !value.contains(*quote))?;
    Some(format!("{quote}{value}{quote}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As ProcDump 4.0 wrote it.
    const PROCDUMP: &str =
        "[UserModeDump]\r\ndefault=procdump-1.dmp\r\nmemory=procdump-reflected.dmp\r\nmodule=procdump-1.dmp\r\n";

    fn procdump() -> Configuration {
        Configuration {
            default: "procdump-1.dmp".into(),
            memory: "procdump-reflected.dmp".into(),
            module: "procdump-1.dmp".into(),
        }
    }

    fn utf16(text: &str, number: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(number).collect()
    }

    #[test]
    fn procdumps_own() {
        assert_eq!(Configuration::parse(PROCDUMP.as_bytes()), Ok(procdump()));
        assert_eq!(procdump().render().unwrap(), PROCDUMP.as_bytes());
    }

    #[test]
    fn encodings() {
        let marked = format!("\u{feff}{PROCDUMP}");
        for bytes in [
            marked.clone().into_bytes(),
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
            utf16(PROCDUMP, u16::to_le_bytes),
        ] {
            assert_eq!(Configuration::parse(&bytes), Ok(procdump()));
            assert!(is_configuration(&bytes));
            assert!(is_configuration(&bytes[..bytes.len() - 1]));
        }
        for (bytes, encoding, offset) in [
            (&b"[UserModeDump]\n\xff=1"[..], "UTF-8", 15),
            (b"\xff\xfe[", "UTF-16", 2),
            (b"\xff\xfe\x3d\xd8\x00\xde\x00\xd8\x41\0", "UTF-16", 6),
        ] {
            assert_eq!(Configuration::parse(bytes), Err(ConfigurationError::Encoding { encoding, offset }));
        }
    }

    #[test]
    fn other_letters_than_ascii_are_written_as_windows_reads_them() {
        let names = Configuration { memory: "größe-reflected.dmp".into(), ..procdump() };
        let bytes = names.render().unwrap();
        assert_eq!(bytes[..4], [0xff, 0xfe, b'[', 0]);
        assert_eq!(Configuration::parse(&bytes), Ok(names));
    }

    #[test]
    fn spelling_is_free() {
        let text = "; taken by hand\n\n[other]\ndefault=no\n [ usermodedump ] \n DEFAULT = \"procdump-1.dmp\" \n\
            Memory='procdump-reflected.dmp' ; the clone\nunknown=1\nno sense\n=\n;module=x\n\
            MODULE=procdump-1.dmp\t;the first\n[more]\nmemory=no";
        assert_eq!(Configuration::parse(text.as_bytes()), Ok(procdump()));
        assert!(!is_configuration(text.as_bytes()), "another section comes first");
        assert!(is_configuration(b"; a comment\r\n[USERMODEDUMP"));
    }

    #[test]
    fn quotes_and_semicolons() {
        for (written, read) in [
            ("a;b", "a;b"),
            ("a ;b", "a"),
            ("\"a ;b\"", "a ;b"),
            ("\"a\" ; \"b\"", "a"),
            ("\"a", "\"a"),
            ("\"a\"b", "\"a\"b"),
            ("'it''s'", "'it''s'"),
            ("\"'a'\"", "'a'"),
            ("  a b  ", "a b"),
            (";", ""),
            ("\"\"", ""),
        ] {
            assert_eq!(Line::of(&format!("memory={written}")), Line::Pair(Key::Memory, read), "{written}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let parse = |text: &str| Configuration::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse(""), ConfigurationError::NoSection);
        assert_eq!(parse("default=a\nmemory=b"), ConfigurationError::NoSection);
        assert_eq!(parse("[UserModeDump]"), ConfigurationError::Missing { key: Key::Default });
        assert_eq!(parse("[UserModeDump]\ndefault=a\nmemory= \n"), ConfigurationError::Missing { key: Key::Memory });
        assert_eq!(
            parse("[UserModeDump]\ndefault=a\n[UserModeDump]\nDefault=a"),
            ConfigurationError::Duplicate { key: Key::Default, line: 4 }
        );
        for bad in ["..", "C:", "D:\\", "sub\\", "\\\\", "a\0b", "a\rb", "/"] {
            let error = parse(&format!("[UserModeDump]\ndefault=a\nmemory={bad}"));
            assert_eq!(error, ConfigurationError::NoFile { key: Key::Memory, line: 3 }, "{bad:?}");
        }
        let long = "[UserModeDump]\n".repeat(1 << 20);
        assert!(matches!(parse(&long), ConfigurationError::TooLarge { size, .. } if size == 15 << 20));
    }

    #[test]
    fn modules_are_where_the_threads_are_unless_told_otherwise() {
        let read = Configuration::parse(b"[UserModeDump]\ndefault=a\nmemory=b\n").unwrap();
        assert_eq!(read.module, "a");
    }

    #[test]
    fn names_that_cannot_be_written_are_refused() {
        for bad in ["", "a\nb", "\"' ", ".."] {
            let names = Configuration { memory: bad.into(), ..procdump() };
            assert_eq!(names.render(), Err(ConfigurationError::Inexpressible { key: Key::Memory }), "{bad:?}");
        }
    }

    /// Names, most of them of what means something to the parser.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[\\[\\]=;\"' a-c\\\\:./\t\n\r\0ü\u{feff}\u{3000}]{0,12}", any::<String>()]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(default in name(), memory in name(), module in name()) {
            let names = Configuration { default, memory, module };
            if let Ok(bytes) = names.render() {
                prop_assert!(is_configuration(&bytes));
                prop_assert_eq!(Configuration::parse(&bytes), Ok(names));
            }
        }

        #[test]
        fn ordinary_names_can_be_written(
            default in "[a-zA-Z0-9_+,;=() '-]{0,20}\\.dmp",
            memory in "[^\\p{C}\\\\/:\"]{1,20}\\.dmp",
        ) {
            let names = Configuration { module: default.clone(), default, memory };
            prop_assert!(names.render().is_ok(), "{:?}", names.render());
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (Configuration::parse(&bytes), is_configuration(&bytes));
        }

        #[test]
        fn text_never_panics(
            text in "([\\[\\]=;\"' \\\\:./\n\rü]|\\[UserModeDump\\]\n|default|memory|module){0,40}",
            wide in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = if wide { utf16(&text, u16::to_le_bytes) } else { text.into_bytes() };
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = is_configuration(&bytes);
            if let Ok(read) = Configuration::parse(&bytes) {
                prop_assert!(Key::ALL.iter().all(|key| !read.get(*key).is_empty()));
            }
        }
    }
}
