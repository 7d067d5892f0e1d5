// Rust with generics, closures, iterators and trait objects, and a thread in a panic hook.
use std::io::Read;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

trait Shape {
    fn area(&self, depth: u32) -> f64;
}

struct Square<T>(T);

#[inline(never)]
fn wait_here() {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

impl<T: Into<f64> + Copy> Shape for Square<T> {
    #[inline(never)]
    fn area(&self, depth: u32) -> f64 {
        if depth == 0 {
            wait_here();
        }
        let side: f64 = self.0.into();
        (0..depth).map(|deeper| self.area(deeper) * side).sum()
    }
}

fn main() {
    let (sender, receiver) = mpsc::channel::<u32>();
    thread::Builder::new()
        .name("shapes".into())
        .spawn(|| {
            let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(2.0f64)), Box::new(Square(3u8))];
            shapes.iter().map(|shape| shape.area(3)).fold(0.0, |a, b| a + b)
        })
        .unwrap();
    thread::Builder::new().name("receiver".into()).spawn(move || receiver.iter().sum::<u32>()).unwrap();
    std::panic::set_hook(Box::new(|_| wait_here()));
    thread::Builder::new().name("panics".into()).spawn(|| Option::<u32>::None.expect("nothing there")).unwrap();
    thread::sleep(Duration::from_millis(200));
    println!("ready");
    let mut byte = [0];
    while std::io::stdin().read(&mut byte).unwrap_or(0) > 0 {}
    drop(sender);
    std::process::exit(0);
}
