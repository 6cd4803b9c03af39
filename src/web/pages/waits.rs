//! What a run waits for, in words.

use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::services::waiting::{self, WaitingFor, What};
use crate::store::runs::Run;
use crate::web::pages::view::When;
use crate::web::problem::Problem;
use crate::web::state::State;

/// “sleeps until 14:30”, “waits for a decision”.
pub struct Waits {
    pub words: String,
    /// Of what has a time: when.
    pub until: Option<When>,
}

/// What a run waits for; none where it does not wait.
pub async fn of_run(state: &State, actor: &Actor, run: &Run) -> Result<Option<Waits>, Problem> {
    let waiting = waiting::of_run(&state.app, actor, run).await?;
    Ok(in_words(&waiting, state.app.clock.now()))
}

fn in_words(waiting: &[WaitingFor], now: Timestamp) -> Option<Waits> {
    let first = waiting.first()?;
    let mut words: Vec<&str> = Vec::new();
    for each in waiting {
        let word = match &each.what {
            What::Timer => "a time",
            What::Approval(_) => "a decision",
            What::Message => "a message",
            What::Child(_) => "the end of a child",
            What::Ask(_) => "a child’s answer",
            What::Retry => "the next try",
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let soonest = waiting.iter().filter_map(|each| each.until).min();
    let alone = waiting.len() == 1;
    let (words, until) = match (&first.what, soonest) {
        (What::Timer, Some(until)) if alone => ("sleeps until".to_owned(), Some(until)),
        (What::Retry, Some(until)) if alone => ("tries again".to_owned(), Some(until)),
        _ => (format!("waits for {}", words.join(" or ")), None),
    };
    Some(Waits {
        words,
        until: until.map(|until| When::new(until, now)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_said_once_and_in_order() {
        let now = Timestamp::from_ms(1_000_000);
        let waiting = |what, until: Option<i64>| WaitingFor {
            what,
            until: until.map(Timestamp::from_ms),
        };
        let words = |list: &[WaitingFor]| in_words(list, now).map(|waits| (waits.words, waits.until.is_some()));
        assert_eq!(words(&[]), None);
        assert_eq!(
            words(&[waiting(What::Timer, Some(2_000_000))]),
            Some(("sleeps until".to_owned(), true))
        );
        assert_eq!(
            words(&[waiting(What::Message, None)]),
            Some(("waits for a message".to_owned(), false))
        );
        let several = [
            waiting(What::Ask("run_1".to_owned()), None),
            waiting(What::Ask("run_2".to_owned()), None),
            waiting(What::Timer, Some(2_000_000)),
        ];
        assert_eq!(words(&several), Some(("waits for a child’s answer or a time".to_owned(), false)));
    }
}
