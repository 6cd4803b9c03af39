//! What the station costs, in one run: `cargo bench`. Figures are for comparing with each other, on the machine that printed them.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark prints and fails loudly"
)]

mod guest;
mod replay;
mod report;
mod runs;
mod startup;
mod station;
mod writer;

use tokio::runtime::Builder;

fn main() {
    // `cargo test` and `cargo bench -- --test` ask only whether it runs.
    let quick = std::env::args().any(|arg| arg == "--test" || arg == "--quick");
    let scale = if quick { 50 } else { 1 };
    let runtime = Builder::new_multi_thread().enable_all().build().expect("threads");
    println!("## writer (FULL), small entries");
    runtime.block_on(writer::bench(scale));
    println!("\n## runs of a component with 5 journaled calls, durable (FULL)");
    runtime.block_on(runs::bench(scale));
    println!("\n## replay");
    runtime.block_on(replay::bench(scale));
    if !quick {
        println!("\n## the release binary");
        startup::bench();
    }
}
