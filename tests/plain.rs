//! Types of a user's own lie in shared memory, derived through the facade: this package does not know
//! bytemuck otherwise.

use multiproc::bytemuck::AnyBitPattern;
use multiproc::{Array, CheckedBitPattern, Mutex, NoUninit, Process, RwLock, Value};

#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[bytemuck(crate = "multiproc::bytemuck")]
#[repr(u8)]
enum Color {
    Red = 1,
    Green = 2,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, NoUninit, AnyBitPattern)]
#[bytemuck(crate = "multiproc::bytemuck")]
#[repr(C)]
struct Point {
    x: u32,
    y: f32,
}

type Shared = (Value<Color>, Array<Point>, Mutex<Point>, RwLock<Color>);

fn change((color, points, mutex, other): Shared) {
    assert_eq!(color.get(), Color::Red);
    color.set(Color::Green);
    points.update(1, |point| point.x += 7);
    mutex.lock().expect("sound").y = 0.5;
    *other.write().expect("sound") = Color::Green;
}

#[test]
fn derived_types_are_changed_by_another_process() {
    let shared: Shared = (
        Value::new(Color::Red).expect("a value"),
        Array::new(2).expect("an array"),
        Mutex::new(Point::default()).expect("a mutex"),
        RwLock::new(Color::Red).expect("a lock"),
    );
    let process = Process::new(change, shared.clone()).start();
    process.expect("it starts").join().expect("it ends well");
    let (color, points, mutex, other) = shared;
    assert_eq!(color.get(), Color::Green);
    let changed = Point { x: 7, y: 0.0 };
    assert_eq!(points.to_vec(), [Point::default(), changed]);
    assert_eq!(*mutex.lock().expect("sound"), Point { x: 0, y: 0.5 });
    assert_eq!(*other.read().expect("sound"), Color::Green);
}
