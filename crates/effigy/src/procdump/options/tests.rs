//! Command lines in other words.

use super::*;

fn translated(line: &str) -> Translation {
    let words: Vec<&str> = line.split_whitespace().collect();
    match parse(&words, &|| Ok(())) {
        Ok(Asked::Translated(translation)) => translation,
        other => panic!("{line}: {other:?}"),
    }
}

fn words(line: &str) -> String {
    translated(line).words.join(" ")
}

#[test]
fn lines_that_people_know() {
    for (line, expected) in [
        ("-ma -c 80 -s 5 -n 3 -u w3wp", "--kind=full --for 5s -n 3 --above=core=80 -- w3wp"),
        ("-mp -r -a notepad", "--kind=miniplus --reflect --avoid-outage -- notepad"),
        ("-c 65 -cl 5 -n 2 1234", "-n 2 --above=cpu=65 --below=cpu=5 --kind=full --format=core -- 1234"),
        ("-m 100,200 1234", "--above=private=100M,200M --kind=full --format=core -- 1234"),
        (
            "-M 100 -tc 50 -fc 60 -pf 500 x",
            "--above=private=100M --above=threads=50 --above=fds=60 --interval 500ms --kind=full --format=core -- x",
        ),
        ("-w launchd", "--wait --kind=full --format=core -- launchd"),
        ("-pgid 500", "--kind=full --format=core --group=500 --all"),
        (
            "-mm -ma -r 3 -at 30 -k -o x",
            "--kind=mini --kind=full --reflect --clones=3 --timeout 30 --kill --overwrite -- x",
        ),
        ("-cancel 77", "--cancel -- 77"),
        ("-p 1234", "--kind=full --format=core -- 1234"),
        ("-mt -h x", "--kind=triage --hang=5s -- x"),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}

#[test]
fn what_happens_to_a_program() {
    const EXCEPTIONS: &str = "--on=crash,exception,panic --signal=SEGV,BUS,ILL,FPE,SYS,ABRT";
    for (line, expected) in [
        ("-mm -e x", "--kind=mini --on=crash -- x"),
        ("-e 1 77", &format!("{EXCEPTIONS} --kind=full --format=core -- 77")[..]),
        ("-e 1", "--on=crash --kind=full --format=core -- 1"),
        ("-mm -e 1 -b -g x", &format!("--kind=mini {EXCEPTIONS},TRAP -- x")[..]),
        (
            "-mm -e 1 -f std::*,SEGV -fx libfoo x",
            &format!("--kind=mini {EXCEPTIONS} --include=std::* --include=SEGV --exclude=libfoo -- x")[..],
        ),
        ("-mm -e -ld -ud -ct -et -t x", "--kind=mini --on=crash,load,unload,thread-start,thread-exit,exit -- x"),
        ("-mm -sig 11,6 -n 2 -s 5 x", "--kind=mini -n 2 --spacing 5s --signal=11,6 -- x"),
        ("-mm -t -c 80 -s 5 x", "--kind=mini --for 5s --above=cpu=80 --on=exit -- x"),
        ("-mm -n 2 -e -x /d ./app -c 5", "--kind=mini -n 2 --on=crash --output=/d -- ./app -c 5"),
        ("-mm -x . true", "--kind=mini --on=crash --output=. -- true"),
        ("-mm -s 5 -x . true", "--kind=mini --spacing 5s --on=crash --output=. -- true"),
        (
            "-mm -c 80 -u -s 5 -m 100,200 -pf 500 -k -x /d ./app -w",
            "--kind=mini --for 5s --above=private=100M,200M --interval 500ms --kill --above=core=80 --output=/d -- ./app -w",
        ),
        (
            "-e -tc 9 -h -x . true",
            "--above=threads=9 --hang=5s --on=crash --kind=full --format=core --output=. -- true",
        ),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
    assert!(translated("-e -x /d app").launches && !translated("-e app").launches);
    assert!(translated("-e -g x").notes[0].contains("-g"));
}

#[test]
fn what_cannot_be_seen_is_said() {
    let parsed = parse(&["-mm", "-e", "1", "-f", "", "x"], &|| Err("no rights".to_owned()));
    let Ok(Asked::Translated(translation)) = parsed else { panic!("{parsed:?}") };
    assert!(translation.notes[0].contains("no rights"));
    assert_eq!(translation.words.join(" "), "--kind=mini --on=crash --signal=SEGV,BUS,ILL,FPE,SYS,ABRT -n 0 -- x");
    assert!(parse(&["-e", "-n", "2", "-f", "", "x"], &|| Ok(())).is_err());
}

#[test]
fn places_and_clones() {
    assert_eq!(translated("-ma x /dumps").place, Some("/dumps".into()));
    assert_eq!(words("-ma -r 5"), "--kind=full --reflect -- 5");
    assert_eq!(words("-ma x -r 5"), "--kind=full --reflect --clones=5 -- x");
    assert!(translated("-c 250 x").notes[0].contains("one core"));
    assert!(translated("-mc 1 x").notes[0].contains("MINIDUMP_TYPE"));
}

#[test]
fn what_is_refused() {
    for line in [
        "",
        "-ma",
        "-c x y",
        "-c",
        "-a x",
        "-zz x",
        "-wer x",
        "-restrack x",
        "-md a.dll x",
        "x y z",
        "-p \\X(a)\\b 5 x",
        "-mc zz x",
        "-pc a 5 x",
        "-u x",
        "-u",
        "-i",
        "-i /dumps -ma",
        "-l x",
        "-b x",
        "-e -b x",
        "-g x",
        "-f y x",
        "-t -sig",
        "-x /dumps",
        "-pgid -e -x /dumps ./app",
        "-u -x /dumps ./app",
        "-w -e -x /dumps ./app",
        "app -e -x /dumps ./app",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(parse(&words, &|| Ok(())).is_err(), "{line}");
    }
}
