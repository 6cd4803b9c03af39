//! Named points at which a test has this process die as a power cut would have it: by SIGKILL, with nothing put in order first.
//!
//! Only a development build can be told to; in a release each of them is nothing.

/// The moments around an effect and a commit between which a crash makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// A call is about to be journaled.
    BeforeIntent,
    /// The intent is durable, the effect has not begun.
    AfterIntent,
    /// The effect has happened, its result is not written.
    AfterEffect,
    /// The result is durable, the guest has not heard of it.
    AfterResult,
    /// All statements of a transaction are done, its commit is not.
    InCommit,
    /// A transaction is committed, nobody has been answered.
    AfterCommit,
    /// A segment is over and the next is not in force, or has just come into force.
    BetweenSegments,
    /// A run gives its slot up to wait, or has just done so.
    InPark,
}

#[cfg(debug_assertions)]
pub use self::armed::{Unreadable, arm};

impl CrashPoint {
    /// Dies here if a test wants it.
    #[cfg(debug_assertions)]
    pub fn pass(self) {
        armed::pass(self);
    }

    /// Does nothing.
    #[cfg(not(debug_assertions))]
    pub fn pass(self) {}
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::CrashPoint;

    const NAMES: [(&str, CrashPoint); 8] = [
        ("before-intent", CrashPoint::BeforeIntent),
        ("after-intent", CrashPoint::AfterIntent),
        ("after-effect", CrashPoint::AfterEffect),
        ("after-result", CrashPoint::AfterResult),
        ("in-commit", CrashPoint::InCommit),
        ("after-commit", CrashPoint::AfterCommit),
        ("between-segments", CrashPoint::BetweenSegments),
        ("in-park", CrashPoint::InPark),
    ];

    /// A text that names no point.
    #[derive(Debug, thiserror::Error)]
    #[error("AGENTSTATION_CRASH_AT is wrong: “{0}” is no POINT:PASSING such as after-intent:3")]
    pub struct Unreadable(String);

    struct Armed {
        point: CrashPoint,
        /// Passings that are still survived.
        left: AtomicU32,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    fn read(text: &str) -> Option<Armed> {
        let (name, passing) = text.split_once(':')?;
        let (_, point) = NAMES.iter().find(|(known, _)| *known == name)?;
        let left = passing.parse::<u32>().ok()?.checked_sub(1)?;
        Some(Armed {
            point: *point,
            left: AtomicU32::new(left),
        })
    }

    /// Has the process die at the given passing of a point: `after-intent:3` at the third, counted from 1.
    ///
    /// # Errors
    /// The text is no such thing.
    pub fn arm(text: &str) -> Result<(), Unreadable> {
        let armed = read(text).ok_or_else(|| Unreadable(text.to_owned()))?;
        ARMED.get_or_init(|| armed);
        Ok(())
    }

    pub(super) fn pass(point: CrashPoint) {
        let Some(armed) = ARMED.get().filter(|armed| armed.point == point) else {
            return;
        };
        let survives = armed
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if survives.is_err() && kill_process(getpid(), Signal::KILL).is_ok() {
            // Nothing after this point may happen while the signal is on its way.
            loop {
                std::thread::park();
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_is_read_with_its_passing() {
            let armed = read("in-park:3").unwrap();
            assert_eq!((armed.point, armed.left.into_inner()), (CrashPoint::InPark, 2));
            for wrong in ["in-park", "in-park:0", "in-park:x", "nowhere:1", ""] {
                assert!(read(wrong).is_none(), "{wrong}");
            }
        }
    }
}
