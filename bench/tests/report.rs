//! Reports in the forms that people read.

mod sample;

use corelode_bench::report::terminal;

#[test]
fn probe() {
    for shape in [&sample::OPEN, &sample::CLOSED, &sample::SLOWER] {
        eprintln!("{}", terminal::summary(&sample::report(shape)));
    }
}
