//! Prints that each of two workers prepares itself once, then the distances they look up in the table
//! they made, and that a worker retires after five tasks and its successor prepares itself again.

use std::collections::HashMap;
use std::error::Error;

use multiproc::Pool;

/// What each worker keeps: costly to make, so made once and not for each task.
struct Table {
    distances: HashMap<String, u32>,
}

fn load(unit: String) -> Result<Table, String> {
    println!("process {} makes its table, in {unit}", std::process::id());
    let factor = match unit.as_str() {
        "km" => 1,
        "m" => 1000,
        _ => return Err(format!("no such unit: {unit}")),
    };
    let known = [("Delft", 60), ("Ghent", 210), ("Trier", 370)];
    let distances = known.map(|(city, km)| (city.to_owned(), km * factor));
    Ok(Table {
        distances: distances.into(),
    })
}

fn look_up(table: &mut Table, city: String) -> Option<u32> {
    table.distances.get(&city).copied()
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder()
        .workers(2)
        .initializer(
            |text: String| println!("{text} {}", std::process::id()),
            "hello from".into(),
        )
        .try_state(load, "km".to_owned())
        .max_tasks_per_worker(5)
        .build()?;
    let cities = ["Delft", "Ghent", "Trier", "Atlantis"].repeat(5);
    let distances = pool.map_with(look_up, cities.iter().map(|city| city.to_string()))?;
    for (city, distance) in cities.iter().zip(&distances).take(4) {
        println!("{city}: {distance:?}");
    }
    let restarts: u32 = pool.stats().workers.iter().map(|it| it.restarts).sum();
    println!("{} tasks, {restarts} workers replaced", distances.len());

    // A state that cannot be made breaks the pool, and says why.
    let broken = Pool::builder()
        .workers(1)
        .try_state(load, "miles".to_owned())
        .build()?;
    println!(
        "{}",
        broken.apply_with(look_up, "Delft".to_owned()).unwrap_err()
    );
    Ok(())
}
