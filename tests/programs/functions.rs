//! Prints `travelled` when functions of all kinds have run in other processes: what the tests see
//! under their harness also holds from a plain `main`.

fn main() {
    multiproc_tests::travel::everything();
    println!("travelled");
}
