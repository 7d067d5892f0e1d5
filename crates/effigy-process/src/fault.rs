//! The signal or exception that a process died of.

mod names;

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{Address, Registers, ThreadId};

/// A fault: which thread, what, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The thread that it happened to.
    pub thread: ThreadId,
    /// What happened.
    pub kind: FaultKind,
    /// For a signal `si_addr`, where it has one; for an exception of Windows or macOS where it happened, or what could
    /// not be accessed.
    pub address: Option<Address>,
    /// What else a minidump says of it (`ExceptionInformation`): for an access violation of Windows whether it read (0),
    /// wrote (1) or executed (8), and the address.
    pub parameters: Vec<u64>,
    /// The thread's registers when it happened, where a dump has them. Those of the thread itself may be of a later
    /// time: that of the dump, which the thread helped to write.
    pub registers: Option<Box<Registers>>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A signal of Linux.
    Signal {
        /// Its number.
        number: i32,
        /// `si_code`: what kind of the signal it was, see `sigaction(2)`.
        code: i32,
    },
    /// An exception of Windows.
    Windows {
        /// Its code, mostly an NTSTATUS.
        code: u32,
        /// 1 when the program may not go on after it.
        flags: u32,
    },
    /// A Mach exception.
    Mach {
        /// `EXC_*`, or one of Crashpad's own.
        exception: u32,
        /// The first of its codes.
        code: u32,
    },
    /// One of a system that effigy does not know.
    Other {
        /// Its code.
        code: u32,
        /// Its flags.
        flags: u32,
    },
}

impl Fault {
    /// A signal of Linux.
    #[must_use]
    pub fn signal(thread: ThreadId, number: i32, code: i32, address: Option<Address>) -> Self {
        Self { thread, kind: FaultKind::Signal { number, code }, address, parameters: Vec::new(), registers: None }
    }

    /// The number and `si_code` of the signal, when it is one.
    #[must_use]
    pub fn as_signal(&self) -> Option<(i32, i32)> {
        match self.kind {
            FaultKind::Signal { number, code } => Some((number, code)),
            _ => None,
        }
    }

    /// The address that could not be accessed, for faults that have one: that of a signal; the second parameter of an
    /// access violation or page error of Windows; the address of a bad access on macOS.
    #[must_use]
    pub fn accessed(&self) -> Option<Address> {
        match self.kind {
            FaultKind::Signal { .. } => self.address,
            FaultKind::Windows { code: names::ACCESS_VIOLATION | names::IN_PAGE_ERROR, .. } => {
                self.parameters.get(1).copied().map(Address)
            }
            FaultKind::Mach { exception: 1, .. } => self.address,
            _ => None,
        }
    }
}

impl Fault {
    /// The name of what kind of it it was, as [`FaultKind::detail`] knows it, and of a fast failure of Windows which one:
    /// `FAST_FAIL_CORRUPT_LIST_ENTRY` (`__fastfail`, whose code is the first parameter).
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        match (self.kind, self.parameters.first()) {
            (FaultKind::Windows { code: names::STACK_BUFFER_OVERRUN, .. }, Some(code)) => names::fast_fail(*code),
            (kind, _) => kind.detail(),
        }
    }
}

impl FaultKind {
    /// The name in capitals that programmers know it by: `SIGSEGV`, `EXCEPTION_ACCESS_VIOLATION`, `EXC_BAD_ACCESS`.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Signal { number, .. } => names::signal(number),
            Self::Windows { code, .. } => names::windows(code),
            Self::Mach { exception, .. } => names::mach(exception),
            Self::Other { .. } => None,
        }
    }

    /// The name of what kind of it it was: `SEGV_MAPERR`, `KERN_INVALID_ADDRESS`.
    #[must_use]
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::Signal { number, code } => names::signal_code(number, code),
            Self::Mach { exception: 1, code } => names::kernel_return(code),
            _ => None,
        }
    }

    /// The two numbers that a minidump has for it, code and flags.
    #[must_use]
    pub fn numbers(self) -> (u32, u32) {
        match self {
            Self::Signal { number, code } => (number.cast_unsigned(), code.cast_unsigned()),
            Self::Windows { code, flags } | Self::Other { code, flags } => (code, flags),
            Self::Mach { exception, code } => (exception, code),
        }
    }
}

/// `SIGSEGV / SEGV_MAPERR`, or the number of what has no name.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.write_str(name)?,
            (None, Self::Signal { number, .. }) => write!(f, "signal {number}")?,
            (None, kind) => write!(f, "exception {:#010x}", kind.numbers().0)?,
        }
        self.detail().map_or(Ok(()), |detail| write!(f, " / {detail}"))
    }
}

/// `{"thread":…,"name":"SIGSEGV","detail":"SEGV_MAPERR","signal":11,"code":1,"address":"0x…"}`; in place of `signal`, an
/// exception has `exception` and `flags`.
impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("thread", &self.thread)?;
        map.serialize_entry("name", &self.kind.name())?;
        map.serialize_entry("detail", &self.detail())?;
        match self.kind {
            FaultKind::Signal { number, code } => {
                map.serialize_entry("signal", &number)?;
                map.serialize_entry("code", &code)?;
            }
            kind => {
                let (code, flags) = kind.numbers();
                map.serialize_entry("exception", &code)?;
                map.serialize_entry("flags", &flags)?;
            }
        }
        map.serialize_entry("address", &self.address)?;
        if !self.parameters.is_empty() {
            map.serialize_entry("parameters", &self.parameters)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        let text = |kind: FaultKind| kind.to_string();
        assert_eq!(text(FaultKind::Signal { number: 11, code: 1 }), "SIGSEGV / SEGV_MAPERR");
        assert_eq!(text(FaultKind::Signal { number: 6, code: -6 }), "SIGABRT / SI_TKILL");
        assert_eq!(text(FaultKind::Signal { number: 77, code: 0 }), "signal 77 / SI_USER");
        assert_eq!(text(FaultKind::Windows { code: 0xc000_0005, flags: 0 }), "EXCEPTION_ACCESS_VIOLATION");
        assert_eq!(text(FaultKind::Windows { code: 0xe123_4567, flags: 0 }), "exception 0xe1234567");
        assert_eq!(text(FaultKind::Mach { exception: 1, code: 1 }), "EXC_BAD_ACCESS / KERN_INVALID_ADDRESS");
    }

    #[test]
    fn a_fast_failure_says_which() {
        let fault = Fault {
            thread: ThreadId(1),
            kind: FaultKind::Windows { code: 0xc000_0409, flags: 1 },
            address: None,
            parameters: vec![7, 0],
            registers: None,
        };
        assert_eq!(fault.detail(), Some("FAST_FAIL_FATAL_APP_EXIT"));
        assert_eq!(Fault { parameters: vec![15], ..fault.clone() }.detail(), None);
        assert_eq!(Fault { parameters: Vec::new(), ..fault }.detail(), None);
    }

    #[test]
    fn the_address_of_an_access_violation_is_its_second_parameter() {
        let mut fault = Fault {
            thread: ThreadId(1),
            kind: FaultKind::Windows { code: 0xc000_0005, flags: 0 },
            address: Some(Address(0x40_1000)),
            parameters: vec![1, 0x45],
            registers: None,
        };
        assert_eq!(fault.accessed(), Some(Address(0x45)));
        fault.kind = FaultKind::Windows { code: 0x8000_0003, flags: 0 };
        assert_eq!(fault.accessed(), None);
    }
}
