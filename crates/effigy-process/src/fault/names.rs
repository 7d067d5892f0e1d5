//! Names of signals and exceptions.
//!
//! Sources: signal(7) and sigaction(2); asm-generic/siginfo.h of Linux 6.18; ntstatus.h and winnt.h; mach/exception_types.h
//! and mach/kern_return.h of Darwin; Crashpad's util/mach/exception_types.h and Breakpad's minidump_exception_*.h for the
//! numbers that those made up.

/// `STATUS_ACCESS_VIOLATION`.
pub(super) const ACCESS_VIOLATION: u32 = 0xc000_0005;
/// `STATUS_IN_PAGE_ERROR`.
pub(super) const IN_PAGE_ERROR: u32 = 0xc000_0006;

/// Name of a signal, by the numbers of all architectures but MIPS, Alpha and SPARC.
pub(super) fn signal(number: i32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    NAMES.get(index).copied()
}

/// Name of a signal's `si_code`.
pub(super) fn signal_code(number: i32, code: i32) -> Option<&'static str> {
    const ILL: [&str; 11] = [
        "ILL_ILLOPC",
        "ILL_ILLOPN",
        "ILL_ILLADR",
        "ILL_ILLTRP",
        "ILL_PRVOPC",
        "ILL_PRVREG",
        "ILL_COPROC",
        "ILL_BADSTK",
        "ILL_BADIADDR",
        "ILL_BREAK",
        "ILL_BNDMOD",
    ];
    const FPE: [&str; 8] = [
        "FPE_INTDIV",
        "FPE_INTOVF",
        "FPE_FLTDIV",
        "FPE_FLTOVF",
        "FPE_FLTUND",
        "FPE_FLTRES",
        "FPE_FLTINV",
        "FPE_FLTSUB",
    ];
    const SEGV: [&str; 10] = [
        "SEGV_MAPERR",
        "SEGV_ACCERR",
        "SEGV_BNDERR",
        "SEGV_PKUERR",
        "SEGV_ACCADI",
        "SEGV_ADIDERR",
        "SEGV_ADIPERR",
        "SEGV_MTEAERR",
        "SEGV_MTESERR",
        "SEGV_CPERR",
    ];
    const BUS: [&str; 5] = ["BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"];
    const TRAP: [&str; 6] = ["TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"];
    const SYS: [&str; 2] = ["SYS_SECCOMP", "SYS_USER_DISPATCH"];
    const BY_SENDER: [&str; 7] = ["SI_USER", "SI_QUEUE", "SI_TIMER", "SI_MESGQ", "SI_ASYNCIO", "SI_SIGIO", "SI_TKILL"];
    match code {
        0x80 => return Some("SI_KERNEL"),
        -60 => return Some("SI_ASYNCNL"),
        ..=0 => return BY_SENDER.get(usize::try_from(code.unsigned_abs()).ok()?).copied(),
        _ => {}
    }
    let names: &[&str] = match number {
        4 => &ILL,
        5 => &TRAP,
        7 => &BUS,
        8 => &FPE,
        11 => &SEGV,
        31 => &SYS,
        _ => return None,
    };
    names.get(usize::try_from(code).ok()?.checked_sub(1)?).copied()
}

/// Name of an exception code of Windows.
pub(super) fn windows(code: u32) -> Option<&'static str> {
    Some(match code {
        0x0517_a7ed => "OUT_OF_MEMORY (Crashpad, simulated)",
        0x4000_0015 => "STATUS_FATAL_APP_EXIT",
        0x4000_001f => "STATUS_WX86_BREAKPOINT",
        0x4001_0005 => "DBG_CONTROL_C",
        0x4001_0006 => "DBG_PRINTEXCEPTION_C",
        0x4001_0008 => "DBG_CONTROL_BREAK",
        0x406d_1388 => "MS_VC_THREADNAME_EXCEPTION",
        0x8000_0001 => "EXCEPTION_GUARD_PAGE",
        0x8000_0002 => "EXCEPTION_DATATYPE_MISALIGNMENT",
        0x8000_0003 => "EXCEPTION_BREAKPOINT",
        0x8000_0004 => "EXCEPTION_SINGLE_STEP",
        ACCESS_VIOLATION => "EXCEPTION_ACCESS_VIOLATION",
        IN_PAGE_ERROR => "EXCEPTION_IN_PAGE_ERROR",
        0xc000_0008 => "EXCEPTION_INVALID_HANDLE",
        0xc000_000d => "STATUS_INVALID_PARAMETER",
        0xc000_0017 => "STATUS_NO_MEMORY",
        0xc000_001d => "EXCEPTION_ILLEGAL_INSTRUCTION",
        0xc000_0025 => "EXCEPTION_NONCONTINUABLE_EXCEPTION",
        0xc000_0026 => "EXCEPTION_INVALID_DISPOSITION",
        0xc000_008c => "EXCEPTION_ARRAY_BOUNDS_EXCEEDED",
        0xc000_008d => "EXCEPTION_FLT_DENORMAL_OPERAND",
        0xc000_008e => "EXCEPTION_FLT_DIVIDE_BY_ZERO",
        0xc000_008f => "EXCEPTION_FLT_INEXACT_RESULT",
        0xc000_0090 => "EXCEPTION_FLT_INVALID_OPERATION",
        0xc000_0091 => "EXCEPTION_FLT_OVERFLOW",
        0xc000_0092 => "EXCEPTION_FLT_STACK_CHECK",
        0xc000_0093 => "EXCEPTION_FLT_UNDERFLOW",
        0xc000_0094 => "EXCEPTION_INT_DIVIDE_BY_ZERO",
        0xc000_0095 => "EXCEPTION_INT_OVERFLOW",
        0xc000_0096 => "EXCEPTION_PRIV_INSTRUCTION",
        0xc000_00fd => "EXCEPTION_STACK_OVERFLOW",
        0xc000_0135 => "STATUS_DLL_NOT_FOUND",
        0xc000_0138 => "STATUS_ORDINAL_NOT_FOUND",
        0xc000_0139 => "STATUS_ENTRYPOINT_NOT_FOUND",
        0xc000_013a => "STATUS_CONTROL_C_EXIT",
        0xc000_0142 => "STATUS_DLL_INIT_FAILED",
        0xc000_0194 => "EXCEPTION_POSSIBLE_DEADLOCK",
        0xc000_02b4 => "STATUS_FLOAT_MULTIPLE_FAULTS",
        0xc000_02b5 => "STATUS_FLOAT_MULTIPLE_TRAPS",
        0xc000_0374 => "STATUS_HEAP_CORRUPTION",
        0xc000_0409 => "STATUS_STACK_BUFFER_OVERRUN",
        0xc000_0417 => "STATUS_INVALID_CRUNTIME_PARAMETER",
        0xc000_0420 => "STATUS_ASSERTION_FAILURE",
        0xc000_041d => "STATUS_FATAL_USER_CALLBACK_EXCEPTION",
        0xc000_0602 => "STATUS_FAIL_FAST_EXCEPTION",
        0xc06d_007e => "VcppException (module not found)",
        0xc06d_007f => "VcppException (procedure not found)",
        0xe043_4352 => "CLR exception",
        0xe06d_7363 => "C++ exception",
        _ => return None,
    })
}

/// Name of a Mach exception.
pub(super) fn mach(exception: u32) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "EXC_BAD_ACCESS",
        "EXC_BAD_INSTRUCTION",
        "EXC_ARITHMETIC",
        "EXC_EMULATION",
        "EXC_SOFTWARE",
        "EXC_BREAKPOINT",
        "EXC_SYSCALL",
        "EXC_MACH_SYSCALL",
        "EXC_RPC_ALERT",
        "EXC_CRASH",
        "EXC_RESOURCE",
        "EXC_GUARD",
        "EXC_CORPSE_NOTIFY",
    ];
    match exception {
        0x4350_7378 => Some("simulated (Crashpad)"),
        0x4350_6e78 => Some("NSException (Crashpad)"),
        _ => NAMES.get(usize::try_from(exception).ok()?.checked_sub(1)?).copied(),
    }
}

/// Name of a `kern_return_t`, the first code of a bad access.
pub(super) fn kernel_return(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "KERN_INVALID_ADDRESS",
        2 => "KERN_PROTECTION_FAILURE",
        8 => "KERN_NO_ACCESS",
        9 => "KERN_MEMORY_FAILURE",
        10 => "KERN_MEMORY_ERROR",
        50 => "KERN_CODESIGN_ERROR",
        0x101 => "EXC_ARM_DA_ALIGN",
        0x102 => "EXC_ARM_DA_DEBUG",
        _ => return None,
    })
}
