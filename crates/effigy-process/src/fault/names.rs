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
        STACK_BUFFER_OVERRUN => "STATUS_STACK_BUFFER_OVERRUN",
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

/// `STATUS_STACK_BUFFER_OVERRUN`: once a stack canary, now what `__fastfail` raises for whatever reason.
pub(super) const STACK_BUFFER_OVERRUN: u32 = 0xc000_0409;

/// Name of the reason that a program gave to `__fastfail` (`winnt.h` of the Windows SDK 10.0.26100).
pub(super) fn fast_fail(code: u64) -> Option<&'static str> {
    Some(match code {
        0 => "FAST_FAIL_LEGACY_GS_VIOLATION",
        1 => "FAST_FAIL_VTGUARD_CHECK_FAILURE",
        2 => "FAST_FAIL_STACK_COOKIE_CHECK_FAILURE",
        3 => "FAST_FAIL_CORRUPT_LIST_ENTRY",
        4 => "FAST_FAIL_INCORRECT_STACK",
        5 => "FAST_FAIL_INVALID_ARG",
        6 => "FAST_FAIL_GS_COOKIE_INIT",
        7 => "FAST_FAIL_FATAL_APP_EXIT",
        8 => "FAST_FAIL_RANGE_CHECK_FAILURE",
        9 => "FAST_FAIL_UNSAFE_REGISTRY_ACCESS",
        10 => "FAST_FAIL_GUARD_ICALL_CHECK_FAILURE",
        11 => "FAST_FAIL_GUARD_WRITE_CHECK_FAILURE",
        12 => "FAST_FAIL_INVALID_FIBER_SWITCH",
        13 => "FAST_FAIL_INVALID_SET_OF_CONTEXT",
        14 => "FAST_FAIL_INVALID_REFERENCE_COUNT",
        18 => "FAST_FAIL_INVALID_JUMP_BUFFER",
        19 => "FAST_FAIL_MRDATA_MODIFIED",
        20 => "FAST_FAIL_CERTIFICATION_FAILURE",
        21 => "FAST_FAIL_INVALID_EXCEPTION_CHAIN",
        22 => "FAST_FAIL_CRYPTO_LIBRARY",
        23 => "FAST_FAIL_INVALID_CALL_IN_DLL_CALLOUT",
        24 => "FAST_FAIL_INVALID_IMAGE_BASE",
        25 => "FAST_FAIL_DLOAD_PROTECTION_FAILURE",
        26 => "FAST_FAIL_UNSAFE_EXTENSION_CALL",
        27 => "FAST_FAIL_DEPRECATED_SERVICE_INVOKED",
        28 => "FAST_FAIL_INVALID_BUFFER_ACCESS",
        29 => "FAST_FAIL_INVALID_BALANCED_TREE",
        30 => "FAST_FAIL_INVALID_NEXT_THREAD",
        31 => "FAST_FAIL_GUARD_ICALL_CHECK_SUPPRESSED",
        32 => "FAST_FAIL_APCS_DISABLED",
        33 => "FAST_FAIL_INVALID_IDLE_STATE",
        34 => "FAST_FAIL_MRDATA_PROTECTION_FAILURE",
        35 => "FAST_FAIL_UNEXPECTED_HEAP_EXCEPTION",
        36 => "FAST_FAIL_INVALID_LOCK_STATE",
        37 => "FAST_FAIL_GUARD_JUMPTABLE",
        38 => "FAST_FAIL_INVALID_LONGJUMP_TARGET",
        39 => "FAST_FAIL_INVALID_DISPATCH_CONTEXT",
        40 => "FAST_FAIL_INVALID_THREAD",
        41 => "FAST_FAIL_INVALID_SYSCALL_NUMBER",
        42 => "FAST_FAIL_INVALID_FILE_OPERATION",
        43 => "FAST_FAIL_LPAC_ACCESS_DENIED",
        44 => "FAST_FAIL_GUARD_SS_FAILURE",
        45 => "FAST_FAIL_LOADER_CONTINUITY_FAILURE",
        46 => "FAST_FAIL_GUARD_EXPORT_SUPPRESSION_FAILURE",
        47 => "FAST_FAIL_INVALID_CONTROL_STACK",
        48 => "FAST_FAIL_SET_CONTEXT_DENIED",
        49 => "FAST_FAIL_INVALID_IAT",
        50 => "FAST_FAIL_HEAP_METADATA_CORRUPTION",
        51 => "FAST_FAIL_PAYLOAD_RESTRICTION_VIOLATION",
        52 => "FAST_FAIL_LOW_LABEL_ACCESS_DENIED",
        53 => "FAST_FAIL_ENCLAVE_CALL_FAILURE",
        54 => "FAST_FAIL_UNHANDLED_LSS_EXCEPTON",
        55 => "FAST_FAIL_ADMINLESS_ACCESS_DENIED",
        56 => "FAST_FAIL_UNEXPECTED_CALL",
        57 => "FAST_FAIL_CONTROL_INVALID_RETURN_ADDRESS",
        58 => "FAST_FAIL_UNEXPECTED_HOST_BEHAVIOR",
        59 => "FAST_FAIL_FLAGS_CORRUPTION",
        60 => "FAST_FAIL_VEH_CORRUPTION",
        61 => "FAST_FAIL_ETW_CORRUPTION",
        62 => "FAST_FAIL_RIO_ABORT",
        63 => "FAST_FAIL_INVALID_PFN",
        64 => "FAST_FAIL_GUARD_ICALL_CHECK_FAILURE_XFG",
        65 => "FAST_FAIL_CAST_GUARD",
        66 => "FAST_FAIL_HOST_VISIBILITY_CHANGE",
        67 => "FAST_FAIL_KERNEL_CET_SHADOW_STACK_ASSIST",
        68 => "FAST_FAIL_PATCH_CALLBACK_FAILED",
        69 => "FAST_FAIL_NTDLL_PATCH_FAILED",
        70 => "FAST_FAIL_INVALID_FLS_DATA",
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
