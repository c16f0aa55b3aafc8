//! Seeds: each is a cluster, a load and a plan of faults.
//!
//! `CORELODE_SIM_SEED=N` runs one, with its plan, and with the nodes' logs if `RUST_LOG` says which; `CORELODE_SIM_SEEDS=N` so many, from `CORELODE_SIM_FIRST_SEED` on.

use corelode_simulator::run::{Report, Scenario};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

fn run(seed: u64) -> Report {
    let scenario = Scenario::of_seed(seed);
    match scenario.run() {
        Ok(report) => report,
        Err(message) => {
            panic!(
                "seed {seed}: {message}\nreproduce: CORELODE_SIM_SEED={seed} cargo nextest run -p corelode-simulator --test seeds --no-capture"
            )
        }
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "what was covered is worth reading")]
fn whatever_happens_promises_are_kept() {
    if let Some(seed) = number("CORELODE_SIM_SEED") {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
        let scenario = Scenario::of_seed(seed);
        println!("{:?}, {} clients, {:?}", scenario.shape, scenario.clients, scenario.manner);
        scenario.plan.iter().for_each(|(at, fault)| println!("{at:>10.3?} {fault}"));
        println!("{}", run(seed));
        return;
    }
    let first = number("CORELODE_SIM_FIRST_SEED").unwrap_or(1);
    let count = number("CORELODE_SIM_SEEDS").unwrap_or(20);
    for seed in first..first + count {
        let started = std::time::Instant::now();
        let report = run(seed);
        if seed % 20 == 0 {
            assert_eq!(run(seed).trace, report.trace, "seed {seed} does not do the same twice");
        }
        println!("seed {seed}: {report}, {:.1?} in {:.2?}", report.simulated, started.elapsed());
    }
}
