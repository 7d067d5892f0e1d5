//! Names and what Swift's own `swift demangle` says they are (its test/Demangle/Inputs and docs/ABI/Mangling.rst), without
//! generic signatures.

use super::*;

/// Mangled, whole, and without parameters and types.
const KNOWN: &[(&str, &str, &str)] = &[
    ("$s4main5helloSSyYaKF", "main.hello() async throws -> Swift.String", "main.hello"),
    ("_$S3abc6testityySiFTm", "merged abc.testit(Swift.Int) -> ()", "merged abc.testit"),
    ("_$s3foo3barC3bas3zimyAaEC_tFTo", "@objc foo.bar.bas(zim: foo.zim) -> ()", "@objc foo.bar.bas"),
    (
        "_$sSC3fooyS2d_SdtFTO",
        "@nonobjc __C_Synthesized.foo(Swift.Double, Swift.Double) -> Swift.Double",
        "@nonobjc __C_Synthesized.foo",
    ),
    ("$s4test3StrCACycfC", "test.Str.__allocating_init() -> test.Str", "test.Str.__allocating_init"),
    ("$s4main13swiftFunctionyySo9CxxStructVF", "main.swiftFunction(__C.CxxStruct) -> ()", "main.swiftFunction"),
    (
        "_$S8mangling14varargsVsArray3arr1nySid_SStF",
        "mangling.varargsVsArray(arr: Swift.Int..., n: Swift.String) -> ()",
        "mangling.varargsVsArray",
    ),
    (
        "_$S8mangling14varargsVsArray3arrySaySiGd_tF",
        "mangling.varargsVsArray(arr: [Swift.Int]...) -> ()",
        "mangling.varargsVsArray",
    ),
    ("_$S4test6testitySiyt_tF", "test.testit(()) -> Swift.Int", "test.testit"),
    (
        "$s4Test5ProtoP8IteratorV10collectionAEy_qd__Gqd___tcfc",
        "Test.Proto.Iterator.init(collection: A1) -> Test.Proto.Iterator<A1>",
        "Test.Proto.Iterator.init",
    ),
    ("$s4main1gyySiXCvp", "main.g : @convention(c) (Swift.Int) -> ()", "main.g"),
    ("$s4main1gyySiXBvp", "main.g : @convention(block) (Swift.Int) -> ()", "main.g"),
    (
        "$sSo17OS_dispatch_queueC4sync7executeyyyXE_tFTOTA",
        "partial apply forwarder for @nonobjc __C.OS_dispatch_queue.sync(execute: () -> ()) -> ()",
        "partial apply forwarder for @nonobjc __C.OS_dispatch_queue.sync",
    ),
    (
        "$s4main20receiveInstantiationyySo34__CxxTemplateInst12MagicWrapperIiEVzF",
        "main.receiveInstantiation(inout __C.__CxxTemplateInst12MagicWrapperIiE) -> ()",
        "main.receiveInstantiation",
    ),
    ("_$S4main4TestC1xACSi_tc6_PRIV_Llfc", "main.Test.init(x: Swift.Int) -> main.Test", "main.Test.init"),
    ("$S1t1PP10AssocType2_AA1QTn", "", ""),
    (
        "$s4Test6testityyxlFAA8MystructV_TB5",
        "generic specialization <Test.Mystruct> of Test.testit(A) -> ()",
        "generic specialization of Test.testit",
    ),
    (
        "$SSiSHsWP",
        "protocol witness table for Swift.Int : Swift.Hashable in Swift",
        "protocol witness table for Swift.Int : Swift.Hashable in Swift",
    ),
    ("$sSqWOy.17", "outlined copy of Swift.Optional with unmangled suffix \".17\"", "outlined copy of Swift.Optional"),
    (
        "_$Ss10DictionaryV3t17E6Index2V1loiySbAEyxq__G_AGtFZ",
        "static (extension in t17):Swift.Dictionary.Index2.< infix((extension in t17):Swift.Dictionary<A, B>.Index2, \
         (extension in t17):Swift.Dictionary<A, B>.Index2) -> Swift.Bool",
        "static (extension in t17):Swift.Dictionary.Index2.< infix",
    ),
    (
        "_$S10Foundation11MeasurementV12SimulatorKitSo9UnitAngleCRszlE11OrientationO2eeoiySbAcDEAGOyAF_G_AKtFZ",
        "static (extension in SimulatorKit):Foundation.Measurement.Orientation.== infix((extension in \
         SimulatorKit):Foundation.Measurement<__C.UnitAngle>.Orientation, (extension in \
         SimulatorKit):Foundation.Measurement<__C.UnitAngle>.Orientation) -> Swift.Bool",
        "static (extension in SimulatorKit):Foundation.Measurement.Orientation.== infix",
    ),
    (
        "_$Ss17MutableCollectionP1asAARzs012RandomAccessB0RzsAA11SubSequences013BidirectionalB0PRpzsAdHRQlE06rotatecD0\
         15shiftingToStart5Indexs01_A9IndexablePQzAN_tFAKs01_M4BasePQzAQcfU_",
        "closure #1 (A.Swift._IndexableBase.Index) -> A.Swift._IndexableBase.Index in (extension in \
         a):Swift.MutableCollection.rotateRandomAccess(shiftingToStart: A.Swift._MutableIndexable.Index) -> \
         A.Swift._MutableIndexable.Index",
        "closure #1 in (extension in a):Swift.MutableCollection.rotateRandomAccess",
    ),
    ("_$S4main5inneryys5Int32Vz_yADctF", "main.inner(inout Swift.Int32, (Swift.Int32) -> ()) -> ()", "main.inner"),
    ("$s3foo6testityyyyc_yyctF", "foo.testit(() -> (), () -> ()) -> ()", "foo.testit"),
    (
        "$sSo5GizmoC11doSomethingyypSgSaySSGSgF",
        "__C.Gizmo.doSomething([Swift.String]?) -> Any?",
        "__C.Gizmo.doSomething",
    ),
    ("$sSo11UITextFieldC4textSSSgvg", "__C.UITextField.text.getter : Swift.String?", "__C.UITextField.text.getter"),
    (
        "$s13call_protocol1CCAA1PA2aDP3fooSiyFTW",
        "protocol witness for call_protocol.P.foo() -> Swift.Int in conformance call_protocol.C : call_protocol.P in \
         call_protocol",
        "protocol witness for call_protocol.P.foo in conformance call_protocol.C : call_protocol.P in call_protocol",
    ),
    ("$SSD1BySSSBsg_G", "", ""),
    ("$s20mangling_retroactive5test0yyAA1ZVy12RetroactiveB1XVSiAE1YVAG0D1A1PAAyHCg_AiJ1QAAyHCg1_GF", "", ""),
];

#[test]
fn names_are_those_that_swift_says() {
    for (mangled, full, short) in KNOWN {
        let expected = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        assert_eq!(demangle(mangled, true), expected(full), "{mangled}");
        if !short.is_empty() {
            assert_eq!(demangle(mangled, false), expected(short), "{mangled}");
        }
    }
}

/// As the specification of the mangling explains them.
#[test]
fn identifiers_of_words_and_of_other_alphabets() {
    let named = |text: &str| demangle(&format!("$s{text}yyF"), false);
    assert_eq!(named("9AbcDefGHI02Myac1_B0").as_deref(), Some("AbcDefGHI.MyAbcGHI_Def"));
    assert_eq!(named("9AbcDefGHI02Myac1_B").as_deref(), None, "nothing stands behind the last word");
    assert_eq!(named("9AbcDefGHI02Myz0").as_deref(), None, "there is no such word");
    assert_eq!(named("4main0012vergenza_JFa").as_deref(), Some("main.vergüenza"));
}

#[test]
fn closures_and_what_is_local_is_told_from_the_inside() {
    let closure = demangle("$s4main4testyyFyycfU0_", true).unwrap();
    assert_eq!(closure, "closure #2 () -> () in main.test() -> ()");
    assert_eq!(demangle("$s4main4testyyFyycfU0_", false).unwrap(), "closure #2 in main.test");
    assert_eq!(demangle("$s4main4testyyF5innerL_yyF", true).unwrap(), "inner #1 () -> () in main.test() -> ()");
    assert_eq!(demangle("$s4main4testyyF5LocalL_V3runyyF", false).unwrap(), "run in Local #1 in main.test() -> ()");
    let private = demangle("$s4main6secret33_0E4228093681F6920F0AB2E48B4F1C69LLyyF", true).unwrap();
    assert_eq!(private, "main.(secret in _0E4228093681F6920F0AB2E48B4F1C69)() -> ()");
}

#[test]
fn what_is_not_understood_stays_as_it_is() {
    for name in
        ["$s", "$sTA.123", "$sF", "$syQo", "$s3foo", "$sA8", "$sIeg_IyB_TR", "$s4main1fyyFxyz", "_$siW", "$s99f"]
    {
        assert_eq!(demangle(name, true), None, "{name}");
    }
}

/// Whatever stands there, it ends, soon and without much memory.
#[test]
fn hostile_names_are_no_harm() {
    // Each type has the one before twice as its arguments.
    let doubled = |letter: u8| format!("ACyA{0}A{0}G", char::from(letter));
    let grown: String = (b'C'..=b'Z').map(doubled).collect();
    assert_eq!(demangle(&format!("$s1a1bV{grown}"), true), None);
    let few: String = (b'C'..=b'E').map(doubled).collect();
    assert_eq!(demangle(&format!("$s1a1bV{few}"), true), None, "four types are no name");
    for piece in ["1aC", "Sg", "y", "_", "A9999A", "S999i", "00999999a", "0aA", "x_t", "yyc", "Qz", "RzlF", "TA", "D"] {
        let _ = demangle(&format!("$s1a1bV{}", piece.repeat(5000)), true);
    }
    let known: String = KNOWN.iter().map(|(name, ..)| name.trim_start_matches('_')).collect();
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let from = usize::try_from(seed >> 33).unwrap() % (known.len() - 40);
        let length = 5 + usize::try_from(seed >> 20 & 31).unwrap();
        let _ = demangle(&format!("$s{}", &known[from..from + length]), true);
    }
}
