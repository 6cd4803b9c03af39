//! Money against a model of it: whatever happens in whatever order, no budget is overspent and every sum says the same.

mod calls;
mod check;
mod model;
mod world;

use proptest::prelude::*;

use self::world::World;

/// What happens next; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A call asks for so much, and is sent if every budget has it.
    Reserve {
        run: usize,
        micros: u64,
        is_http: bool,
    },
    /// A call ends, having cost so much more or less than was reserved.
    Settle {
        which: usize,
        share: Share,
        estimated: bool,
    },
    /// A call ends that two models are paid for, the first for so many percent of the reservation.
    SettleBoth {
        which: usize,
        percent: u64,
    },
    /// A call was never sent.
    Release {
        which: usize,
    },
    /// A call is made again whose answer a crash has lost.
    Again {
        which: usize,
    },
    /// A run is cancelled, or its segment abandoned.
    GiveUp {
        run: usize,
    },
    /// Fuel or a session: never refused.
    Note {
        run: usize,
        micros: u64,
    },
    /// The process is killed and another starts.
    Crash,
    /// What was spent in the last hours is priced anew, at so many halves of what it cost at first.
    Reprice {
        hours: u64,
        halves: u64,
    },
    Raise {
        budget: usize,
        micros: u64,
        hours: u64,
    },
    Limit {
        budget: usize,
        micros: u64,
    },
    /// A budget counts otherwise from now on.
    Recast {
        budget: usize,
        period: usize,
        zone: usize,
    },
    Make {
        scope: usize,
        period: usize,
        zone: usize,
        micros: u64,
    },
    Remove {
        budget: usize,
    },
    /// The clock goes on.
    Later {
        minutes: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Share {
    Nothing,
    Part(u64),
    All,
    /// The provider counts more than it was told it may.
    More(u64),
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![
        1 => Just(Share::Nothing),
        4 => (1_u64..100).prop_map(Share::Part),
        3 => Just(Share::All),
        1 => (1_u64..50).prop_map(Share::More),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    let minutes = prop::sample::select(vec![1_u64, 14, 61, 300, 720, 1_440, 2_881, 10_080, 43_200]);
    prop_oneof![
        12 => (any(), 1_u64..120, prop::bool::ANY).prop_map(|(run, micros, is_http)| Step::Reserve { run, micros, is_http }),
        7 => (any(), share(), prop::bool::ANY).prop_map(|(which, share, estimated)| Step::Settle { which, share, estimated }),
        2 => (any(), 0_u64..=100).prop_map(|(which, percent)| Step::SettleBoth { which, percent }),
        2 => any().prop_map(|which| Step::Release { which }),
        1 => any().prop_map(|which| Step::Again { which }),
        1 => any().prop_map(|run| Step::GiveUp { run }),
        1 => (any(), 0_u64..30).prop_map(|(run, micros)| Step::Note { run, micros }),
        1 => Just(Step::Crash),
        2 => (1_u64..60, 0_u64..5).prop_map(|(hours, halves)| Step::Reprice { hours, halves }),
        2 => (any(), 1_u64..200, 0_u64..40).prop_map(|(budget, micros, hours)| Step::Raise { budget, micros, hours }),
        1 => (any(), 0_u64..400).prop_map(|(budget, micros)| Step::Limit { budget, micros }),
        1 => (any(), any(), any()).prop_map(|(budget, period, zone)| Step::Recast { budget, period, zone }),
        1 => (any(), any(), any(), 50_u64..500).prop_map(|(scope, period, zone, micros)| Step::Make { scope, period, zone, micros }),
        1 => any().prop_map(|budget| Step::Remove { budget }),
        4 => minutes.prop_map(|minutes| Step::Later { minutes }),
    ]
}

/// How much is tried where nobody says (`PROPTEST_CASES`).
const CASES: u32 = 64;

fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { config.cases } else { CASES },
        max_shrink_iters: 400,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_order_of_things_overspends_a_budget_or_parts_the_sums(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for (at, step) in steps.iter().enumerate() {
                world.take(step).await;
                world.check(&format!("after step {at}, {step:?}")).await;
            }
            world.end().await;
        });
    }
}
