//! What the station costs, in one run: `cargo bench`. Figures are for comparing with each other, on the machine that printed them.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark prints and fails loudly"
)]

mod dashboard;
mod disk;
mod durability;
mod guest;
mod model_server;
mod money;
mod parked;
mod replay;
mod report;
mod resume;
mod runs;
mod session;
mod startup;
mod station;
mod writer;

use tokio::runtime::{Builder, Runtime};

/// The name of each part, its heading, and what does it.
type Part = (&'static str, &'static str, fn(&Runtime, usize));

const PARTS: &[Part] = &[
    ("writer", "writer (FULL), small entries", |runtime, scale| {
        runtime.block_on(writer::bench(scale));
    }),
    (
        "runs",
        "runs of a component with 5 journaled calls, durable (FULL)",
        |runtime, scale| {
            runtime.block_on(runs::bench(scale));
        },
    ),
    ("durability", "the same runs, FULL against NORMAL", |runtime, scale| {
        runtime.block_on(durability::bench(scale));
    }),
    ("replay", "replay", |runtime, scale| runtime.block_on(replay::bench(scale))),
    (
        "resume",
        "from a decision to the next instruction of the run that waited",
        |runtime, scale| {
            runtime.block_on(resume::bench(scale));
        },
    ),
    (
        "session",
        "a session's messages, from the post to the reply's entry",
        |runtime, scale| {
            runtime.block_on(session::bench(scale));
        },
    ),
    ("money", "metered calls of models, and reservations", |runtime, scale| {
        runtime.block_on(money::bench(scale));
    }),
    ("dashboard", "costs over a ledger of a million lines", |runtime, scale| {
        runtime.block_on(dashboard::bench(scale));
    }),
    ("disk", "on the disk, for each call", |runtime, scale| {
        runtime.block_on(disk::bench(scale));
    }),
    ("parked", "runs parked on a decision", |_, scale| parked::bench(scale)),
    ("startup", "the release binary", |_, scale| {
        if scale == 1 {
            startup::bench();
        }
    }),
];

fn main() {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(parked::FLAG) {
        return runtime.block_on(parked::park(arguments));
    }
    // `cargo test` and `cargo bench -- --test` ask only whether it runs. Names of parts leave out the others.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|arg| arg == "--test" || arg == "--quick");
    let named = |name: &str| arguments.iter().any(|arg| arg == name);
    let some = PARTS.iter().any(|(name, ..)| named(name));
    for (name, heading, bench) in PARTS.iter().filter(|(name, ..)| !some || named(name)) {
        println!("## {name}: {heading}");
        bench(&runtime, if quick { 50 } else { 1 });
        println!();
    }
}
