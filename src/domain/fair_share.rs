//! How free slots are shared between organizations: each next slot goes to the one with the fewest runs executing.

/// An organization with runs in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Runs that execute now.
    pub running: u32,
    /// Runs in the queue.
    pub queued: u32,
    /// When it last got a slot, by count; among equals the one that has waited longest goes first.
    pub served: u64,
}

/// How many of `slots` each gets, in the order of `waiting`. Among equals, one that got none yet goes first, then one that was served longer ago. No slot stays free while somebody waits.
pub fn share(slots: u32, waiting: &[Waiting]) -> Vec<u32> {
    let mut shares = vec![0; waiting.len()];
    for _ in 0..slots {
        let next = waiting
            .iter()
            .zip(&mut shares)
            .filter(|(org, share)| **share < org.queued)
            .min_by_key(|(org, share)| (org.running.saturating_add(**share), **share > 0, org.served));
        match next {
            Some((_, share)) => *share += 1,
            None => break,
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn org(running: u32, queued: u32, served: u64) -> Waiting {
        Waiting { running, queued, served }
    }

    #[test]
    fn a_long_queue_does_not_starve_a_short_one() {
        assert_eq!(share(4, &[org(0, 1000, 0), org(0, 3, 0)]), [2, 2]);
        assert_eq!(share(4, &[org(4, 1000, 0), org(0, 3, 0)]), [1, 3]);
        assert_eq!(share(8, &[org(0, 1000, 0), org(0, 1, 0)]), [7, 1]);
    }

    #[test]
    fn a_single_slot_goes_round() {
        assert_eq!(share(1, &[org(0, 1000, 7), org(0, 1, 3)]), [0, 1]);
    }

    #[test]
    fn one_alone_gets_everything() {
        assert_eq!(share(64, &[org(30, 100, 5)]), [64]);
        assert_eq!(share(3, &[]), Vec::<u32>::new());
    }

    proptest! {
        #[test]
        fn nothing_stays_free_and_nobody_gets_two_more_than_who_still_waits(
            slots in 0_u32..40,
            waiting in prop::collection::vec((0_u32..6, 1_u32..20, 0_u64..5), 0..6),
        ) {
            let waiting: Vec<Waiting> = waiting.into_iter().map(|(running, queued, served)| org(running, queued, served)).collect();
            let shares = share(slots, &waiting);
            let all: u32 = waiting.iter().map(|org| org.queued).sum();
            prop_assert_eq!(shares.iter().sum::<u32>(), slots.min(all));
            for (i, left) in waiting.iter().enumerate() {
                prop_assert!(shares[i] <= left.queued);
                if shares[i] == left.queued { continue; }
                for (j, served) in waiting.iter().enumerate() {
                    if shares[j] > 0 {
                        prop_assert!(served.running + shares[j] <= left.running + shares[i] + 1);
                    }
                }
            }
        }
    }
}
