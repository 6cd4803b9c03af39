//! Throws away what has had its time: ended sessions, old links, answered requests' keys, deleted workspaces and organizations.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::purge::{self, Left};
use super::{App, audit};
use crate::store::{idempotency, links, notifications, sessions};

const EVERY: Duration = Duration::from_hours(1);
/// How often the newest rows of the audit log are written to the station's own log.
const CHECKPOINT_EVERY: Duration = Duration::from_hours(24);
/// Runs that were told to stop have done so by then, most likely.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long people can read what they were told.
const NOTIFICATIONS_KEPT: Duration = Duration::from_hours(180 * 24);
/// How long the answer to a request with an Idempotency-Key is kept.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(24);

/// The task's loop.
pub async fn run(app: App, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    let mut checkpoint_at = app.clock.now();
    let mut again = None;
    loop {
        let sooner = async {
            match again {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.purge.rung() => again = purge(&app).await,
            () = sooner => again = purge(&app).await,
            _ = tick.tick() => {
                let now = app.clock.now();
                if now >= checkpoint_at {
                    checkpoint_at = now.plus(CHECKPOINT_EVERY);
                    audit::log_heads(&app)
                        .await
                        .unwrap_or_else(|error| tracing::warn!(%error, "no audit checkpoint was logged"));
                }
                prune(&app).await;
                again = purge(&app).await;
            }
        }
    }
}

/// Returns how soon there is a reason to try again before the hour is over.
async fn purge(app: &App) -> Option<Duration> {
    match purge::due(app).await {
        Ok(Left::Nothing) => None,
        Ok(Left::Running) => Some(AGAIN_AFTER),
        Err(error) => {
            tracing::warn!(%error, "what was deleted is not all gone yet; the next try is in an hour");
            None
        }
    }
}

async fn prune(app: &App) {
    let now = app.clock.now();
    let idle = now.minus(app.auth.session_idle());
    let pruned = app.store.write(move |tx| {
        sessions::prune(tx, now, idle)?;
        links::prune(tx, now)?;
        notifications::prune(tx, now.minus(NOTIFICATIONS_KEPT))?;
        idempotency::prune(tx, now.minus(IDEMPOTENCY_KEPT))
    });
    if let Err(error) = pruned.await {
        tracing::warn!(%error, "old sessions and keys are still there; the next try is in an hour");
    }
}
