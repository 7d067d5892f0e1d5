//! Panics in two threads, with a plain and with a made-up message, and ends with status 6; with an argument when a line
//! has come.

fn main() {
    if std::env::args().len() > 1 {
        println!("ready");
        std::io::stdin().read_line(&mut String::new()).expect("a line");
    }
    std::panic::set_hook(Box::new(|_| {}));
    let plain = std::thread::spawn(|| panic!("plain words")).join();
    let made_up = std::thread::spawn(|| panic!("made up of {} parts", std::hint::black_box(2))).join();
    assert!(plain.is_err() && made_up.is_err());
    std::process::exit(6);
}
