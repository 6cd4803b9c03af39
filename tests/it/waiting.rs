//! Runs that wait: for time, for people, for messages, for other runs; across restarts, and for the first of several.

use std::sync::Arc;
use std::time::Duration;

use agentstation::domain::money::Price;
use agentstation::domain::origin::Origin;
use agentstation::domain::run::RunState;
use agentstation::domain::wait::{ApprovalState, Verb};
use agentstation::llm::{Model, Models, Scripted};
use agentstation::services::approvals::{self, Decide};
use agentstation::services::{Error, runs, sessions};
use serde_json::json;

use crate::support::agents::script;
use crate::support::{TestStation, journal};

#[tokio::test]
async fn a_sleeping_run_gives_its_memory_back_and_wakes_after_a_restart() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) {
      await station.memory.put('before', 1);
      const began = station.clock.now();
      await station.clock.sleep(input.ms);
      return { slept: station.clock.now() - began >= input.ms, version: (await station.memory.getEntry('before')).version };
    }";
    let agent = station.publish(script("sleeper", "[capabilities]\nmemory = true\n", source)).await;
    let id = station.begin(&agent, &json!({ "ms": 2_000 })).await;
    station.until_state(id, RunState::Waiting).await;
    let data = station.stop().await;
    let station = TestStation::builder().data(data).start().await;
    assert_eq!(station.end(id).await.succeeded(), json!({ "slept": true, "version": 1 }));
}

const ASKER: &str = "export default async function run(input, station) {
  const decision = await station.approvals.request({
    action: 'Order 40 chairs', arguments: { chairs: 40 }, reason: 'The **old** ones broke', verbs: ['approve', 'edit', 'deny'],
    timeoutMs: input.timeoutMs, onTimeout: input.onTimeout ?? 'cancel',
  });
  return { verb: decision.verb, chairs: decision.arguments.chairs, reason: decision.reason, by: decision.by };
}";

#[tokio::test]
async fn a_person_decides_after_a_restart() {
    for (verb, arguments, chairs) in [
        (Verb::Approve, None, 40),
        (Verb::Edit, Some(json!({ "chairs": 4 })), 4),
        (Verb::Deny, None, 40),
    ] {
        let station = TestStation::start().await;
        let agent = station.publish(script("asker", "", ASKER)).await;
        let id = station.begin(&agent, &json!({})).await;
        let asked = station.until_asked(id).await;
        assert_eq!(
            (asked.action.as_str(), asked.arguments.as_str()),
            ("Order 40 chairs", "{\"chairs\":40}")
        );
        let data = station.stop().await;
        let station = TestStation::builder().data(data).start().await;
        station.decide(&asked, verb, arguments).await;
        let output = station.end(id).await.succeeded();
        assert_eq!(output, json!({ "verb": verb, "chairs": chairs, "reason": "because", "by": "Ana" }));
    }
}

#[tokio::test]
async fn a_short_wait_keeps_the_instance_and_pressure_throws_it_away() {
    let station = TestStation::start().await;
    let agent = station.publish(script("asker", "", ASKER)).await;
    for thrown_away in [false, true] {
        let id = station.begin(&agent, &json!({})).await;
        let asked = station.until_asked(id).await;
        let kept = async {
            while station.app.dispatcher.warm.is_empty() || station.app.dispatcher.executing() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), kept)
            .await
            .expect("it is kept and gives its slot up");
        if thrown_away {
            assert!(station.app.dispatcher.warm.drop_oldest());
        }
        station.decide(&asked, Verb::Approve, None).await;
        assert_eq!(station.end(id).await.succeeded()["verb"], "approve");
        assert!(station.app.dispatcher.warm.is_empty());
    }
}

#[tokio::test]
async fn the_first_decision_holds_and_the_second_hears_who_made_it() {
    let station = TestStation::start().await;
    let agent = station.publish(script("asker", "", ASKER)).await;
    let id = station.begin(&agent, &json!({})).await;
    let asked = station.until_asked(id).await;
    station.decide(&asked, Verb::Approve, None).await;
    let again = Decide {
        verb: Verb::Deny,
        arguments: None,
        reason: String::new(),
    };
    let second = approvals::decide(&station.app, &station.actor().await, asked.id, again, Origin::default()).await;
    let Err(Error::Conflict(why)) = second else { panic!("{second:?}") };
    assert!(why.contains("Ana") && why.contains("approve"), "{why}");
    assert_eq!(station.end(id).await.succeeded()["verb"], "approve");
}

#[tokio::test]
async fn what_nobody_decides_in_time_cancels_the_run_or_counts_as_denied() {
    let station = TestStation::start().await;
    let agent = station.publish(script("asker", "", ASKER)).await;
    let cancelled = station.begin(&agent, &json!({ "timeoutMs": 100 })).await;
    let denied = station.begin(&agent, &json!({ "timeoutMs": 100, "onTimeout": "deny" })).await;
    let ended = station.end(cancelled).await;
    assert_eq!(ended.run.state, RunState::Cancelled);
    assert!(ended.message().contains("nobody decided"), "{}", ended.error);
    assert_eq!(station.end(denied).await.succeeded()["verb"], "deny");
    let of_run = approvals::of_run(&station.app, &station.actor().await, denied).await.unwrap();
    assert_eq!(of_run[0].state, ApprovalState::Expired);
}

#[tokio::test]
async fn a_cancelled_run_takes_back_what_it_asked() {
    let station = TestStation::start().await;
    let agent = station.publish(script("asker", "", ASKER)).await;
    let id = station.begin(&agent, &json!({})).await;
    let asked = station.until_asked(id).await;
    let actor = station.actor().await;
    runs::cancel(&station.app, &actor, id, Origin::default()).await.unwrap();
    assert_eq!(station.end(id).await.run.state, RunState::Cancelled);
    assert_eq!(
        approvals::get(&station.app, &actor, asked.id).await.unwrap().state,
        ApprovalState::Withdrawn
    );
}

#[tokio::test]
async fn the_first_of_several_waits_is_told_and_the_others_stay_open() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) {
      const [timer, message, question] = await Promise.all([
        station.waits.timer(60_000), station.waits.message(),
        station.waits.approval({ action: 'May I?', arguments: {}, reason: '' }),
      ]);
      const none = await station.waits.any([timer], { timeoutMs: 50 });
      const first = await station.waits.any([timer, message, question]);
      const second = await station.waits.any([timer, question]);
      await station.waits.close(timer);
      return { none: none === undefined, first: first.value.text, isMessage: first.handle === message, second: second.value.verb };
    }";
    let agent = station.publish(script("chooser", "", source)).await;
    let id = station.begin(&agent, &json!({})).await;
    let asked = station.until_asked(id).await;
    station.until_state(id, RunState::Waiting).await;
    station.say(id, "hello").await;
    let data = station.stop().await;
    let station = TestStation::builder().data(data).start().await;
    station.decide(&asked, Verb::Approve, None).await;
    let output = station.end(id).await.succeeded();
    assert_eq!(
        output,
        json!({ "none": true, "first": "hello", "isMessage": true, "second": "approve" })
    );
}

#[tokio::test]
async fn a_timer_that_nobody_read_goes_with_its_run() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) { await station.waits.timer(60_000); return 'done'; }";
    let agent = station.publish(script("starter", "", source)).await;
    let id = station.begin(&agent, &json!({})).await;
    assert_eq!(station.end(id).await.succeeded(), json!("done"));
    let db = journal::open(station.directory());
    let left: i64 = db.query_row("SELECT count(*) FROM waits", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

const CHAT: &str = "export async function onMessage(message, station) {
  station.state.turns = (station.state.turns ?? 0) + 1;
  if (message.text === 'ask me') {
    await station.inbox.reply('what is your name?');
    const answer = await station.inbox.receive();
    await station.inbox.reply(`hello ${answer.text}`);
  } else if (message.text === 'bye') {
    return station.done ? station.done() : undefined;
  } else {
    await station.inbox.reply(`${station.state.turns}: ${message.text} from ${message.sender}`);
  }
}";

#[tokio::test]
async fn a_session_goes_on_with_each_message_and_keeps_its_state() {
    let station = TestStation::start().await;
    let agent = station.publish(script("chat", "", CHAT)).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_state(id, RunState::Waiting).await;
    station.say(id, "one").await;
    station.until_replies(id, 1).await;
    station.say(id, "ask me").await;
    station.until_replies(id, 2).await;
    let data = station.stop().await;
    let station = TestStation::builder().data(data).start().await;
    station.say(id, "Bob").await;
    station.until_replies(id, 3).await;
    station.say(id, "two").await;
    let replies = station.until_replies(id, 4).await;
    assert_eq!(replies, ["1: one from Ana", "what is your name?", "hello Bob", "3: two from Ana"]);
    let run = station.until_state(id, RunState::Waiting).await;
    assert!(run.session);
    let listed = sessions::list(&station.app, &station.actor().await, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn a_session_takes_a_newer_version_of_the_same_state_format_only() {
    let station = TestStation::start().await;
    let version = |number: &str, format: u32, word: &str| {
        let source = format!("export async function onMessage(m, station) {{ await station.inbox.reply('{word} ' + m.text); }}");
        let mut upload = script("chat", &format!("state-format = {format}\n"), &source);
        upload.manifest = upload.manifest.replace("1.0.0", number);
        upload
    };
    let agent = station.publish(version("1.0.0", 1, "first")).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_state(id, RunState::Waiting).await;
    station.publish_version(&agent, version("1.1.0", 1, "second")).await;
    station.say(id, "a").await;
    assert_eq!(station.until_replies(id, 1).await, ["second a"]);
    station.publish_version(&agent, version("2.0.0", 2, "third")).await;
    station.say(id, "b").await;
    assert_eq!(station.until_replies(id, 2).await[1], "second b");
}

const LEAD: &str = "export default async function run(input, station) {
  const ids = await Promise.all(input.numbers.map((n) => station.agents.start('worker', { n })));
  const handles = await Promise.all(ids.map((id) => station.waits.child(id)));
  const outputs = [];
  const open = new Set(handles);
  while (open.size > 0) {
    const ready = await station.waits.any([...open]);
    open.delete(ready.handle);
    outputs.push(ready.value.square);
  }
  return outputs.sort((a, b) => a - b);
}";

#[tokio::test]
async fn a_parent_gathers_what_its_children_found() {
    let station = TestStation::start().await;
    let worker =
        "export default async function run(input, station) { await station.clock.sleep(20); return { square: input.n * input.n }; }";
    station.publish(script("worker", "", worker)).await;
    let lead = station
        .publish(script("lead", "[capabilities]\nagents = [\"worker\"]\n", LEAD))
        .await;
    let id = station.begin(&lead, &json!({ "numbers": [1, 2, 3, 4] })).await;
    let ended = station.end(id).await;
    let finished = ended.entries.iter().filter(|entry| entry.kind == "child.finished").count();
    assert_eq!(finished, 4);
    assert_eq!(ended.succeeded(), json!([1, 4, 9, 16]));
    let db = journal::open(station.directory());
    let left: i64 = db.query_row("SELECT count(*) FROM waits", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "nothing waits after the end");
}

#[tokio::test]
async fn a_child_may_not_do_what_its_parent_may_not() {
    let station = TestStation::start().await;
    let child = "export default async function run(input, station) {
      try { await station.memory.put('a', 1); return 'remembered'; } catch (error) { return error.message; }
    }";
    let child_agent = station.publish(script("child", "[capabilities]\nmemory = true\n", child)).await;
    let source = "export default async function run(input, station) { return station.agents.run('child', {}); }";
    let parent = station
        .publish(script("parent", "[capabilities]\nagents = [\"child\"]\n", source))
        .await;
    let id = station.begin(&parent, &json!({})).await;
    let output = station.end(id).await.succeeded();
    assert!(
        output.as_str().unwrap().contains("“parent”, which started this run, may not"),
        "{output}"
    );
    let alone = station.begin(&child_agent, &json!({})).await;
    assert_eq!(station.end(alone).await.succeeded(), json!("remembered"));
}

#[tokio::test]
async fn cancelling_a_parent_cancels_its_children() {
    let station = TestStation::start().await;
    let child = "export default async function run(input, station) { await station.clock.sleep(3_600_000); }";
    station.publish(script("child", "", child)).await;
    let source = "export default async function run(input, station) { return station.agents.run('child', {}); }";
    let parent = station
        .publish(script("parent", "[capabilities]\nagents = [\"child\"]\n", source))
        .await;
    let id = station.begin(&parent, &json!({})).await;
    let child = station.until_child(id).await;
    station.until_state(child, RunState::Waiting).await;
    runs::cancel(&station.app, &station.actor().await, id, Origin::default())
        .await
        .unwrap();
    assert_eq!(station.end(id).await.run.state, RunState::Cancelled);
    assert_eq!(station.end(child).await.run.state, RunState::Cancelled);
}

#[tokio::test]
async fn agents_that_start_each_other_end_at_a_limit() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) {
      try { return await station.agents.run('loop', {}); } catch (error) { return error.code; }
    }";
    let agent = station
        .publish(script("loop", "[capabilities]\nagents = [\"loop\"]\n", source))
        .await;
    let id = station.begin(&agent, &json!({})).await;
    assert_eq!(station.end(id).await.succeeded(), json!("limit_exceeded"));
}

const TEACHER: &str = "export default async function run(input, station) {
  const pupil = await station.agents.start('pupil', {});
  const ask = async (text, quota) => {
    try { return (await station.agents.ask(pupil, text, quota)).text; } catch (error) { return error.code; }
  };
  return [await ask('add 1'), await ask('loop', { fuel: 5_000_000 }), await ask('sleep', { timeMs: 200 }), await ask('add 2')];
}";

#[tokio::test]
async fn a_child_answers_within_its_quota_or_forgets_the_question() {
    let station = TestStation::start().await;
    let pupil = "export async function onMessage(message, station) {
      const state = station.state;
      state.sum ??= 0;
      if (message.text === 'loop') { state.sum = 1000; for (;;) {} }
      if (message.text === 'sleep') { state.sum = 1000; await station.clock.sleep(3_600_000); }
      state.sum += Number(message.text.split(' ')[1]);
      await station.inbox.reply(`sum ${state.sum}`);
    }";
    station.publish(script("pupil", "", pupil)).await;
    let teacher = station
        .publish(script("teacher", "[capabilities]\nagents = [\"pupil\"]\n", TEACHER))
        .await;
    let id = station.begin(&teacher, &json!({})).await;
    let output = station.end(id).await.succeeded();
    assert_eq!(output, json!(["sum 1", "quota_exhausted", "quota_exhausted", "sum 3"]));
}

#[tokio::test]
async fn a_question_costs_no_more_than_its_quota_of_money() {
    let rules = "[[rule]]\nreply = \"one two three\"\n";
    let mut model = Model::free(Arc::new(Scripted::parse(rules).unwrap()), "scripted");
    model.price = Price {
        input_micros: 1_000_000,
        output_micros: 1_000_000,
        ..Price::default()
    };
    let mut models = Models::default();
    models.insert("default", model);
    let station = TestStation::builder().models(models).start().await;
    let pupil = "export async function onMessage(message, station) {
      const instead = (error) => { if (message.text !== 'may fail') throw error; return { content: error.code }; };
      const reply = await station.models.chat({ messages: 'x', maxOutputTokens: 100 }).catch(instead);
      await station.memory.put('asked', message.text);
      await station.inbox.reply(reply.content);
    }";
    let capabilities = "[capabilities]\nmodels = [\"default\"]\nmemory = true\n";
    station.publish(script("pupil", capabilities, pupil)).await;
    let source = "export default async function run(input, station) {
      const pupil = await station.agents.start('pupil', {});
      const ask = async (text, quota) => {
        try { return (await station.agents.ask(pupil, text, quota)).text; } catch (error) { return error.code; }
      };
      return [
        await ask('dear', { costMicros: 50 }), await ask('may fail', { costMicros: 50 }), await ask('cheap', { costMicros: 100_000 }),
      ];
    }";
    let extra = "[capabilities]\nagents = [\"pupil\"]\nmodels = [\"default\"]\nmemory = true\n";
    let teacher = station.publish(script("teacher", extra, source)).await;
    let id = station.begin(&teacher, &json!({})).await;
    assert_eq!(
        station.end(id).await.succeeded(),
        json!(["quota_exhausted", "budget_exhausted", "one two three"])
    );
    let remembered = journal::memory(&journal::open(station.directory()), "production");
    let values: Vec<_> = remembered.into_values().map(|(value, version, _)| (value, version)).collect();
    assert_eq!(
        values,
        [("\"cheap\"".to_owned(), 2)],
        "where it let the failure through it went no further"
    );
}

#[tokio::test]
async fn a_stranger_cannot_ask_a_run() {
    let station = TestStation::start().await;
    let pupil = station
        .publish(script(
            "pupil",
            "",
            "export async function onMessage(m, station) { await station.inbox.reply('x'); }",
        ))
        .await;
    let other = station.begin(&pupil, &json!({})).await;
    station.until_state(other, RunState::Waiting).await;
    let source = "export default async function run(input, station) {
      try { return await station.agents.ask(input.run, 'hello'); } catch (error) { return error.code; }
    }";
    let stranger = station
        .publish(script("stranger", "[capabilities]\nagents = [\"pupil\"]\n", source))
        .await;
    let id = station.begin(&stranger, &json!({ "run": other })).await;
    assert_eq!(station.end(id).await.succeeded(), json!("not_found"));
}

#[tokio::test]
async fn a_limit_that_comes_near_is_said_once_before_the_end() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) {
      for (let i = 0; i < 95; i++) await station.memory.put('k', i);
      if (input.sleep) await station.clock.sleep(1);
      for (;;) await station.memory.put('k', 0);
    }";
    let agent = station
        .publish(script("busy", "[capabilities]\nmemory = true\n[limits]\ncalls = 100\n", source))
        .await;
    let id = station.begin(&agent, &json!({ "sleep": true })).await;
    let ended = station.end(id).await.because("journal_limit");
    let near: Vec<_> = ended.entries.iter().filter(|entry| entry.kind == "limit.near").collect();
    assert_eq!(near.len(), 1, "once, and not again by the replay");
    assert!(near[0].meta.get().contains("\"used\":80"), "{}", near[0].meta);
}

#[tokio::test]
async fn a_session_has_its_limits_anew_with_each_message() {
    let station = TestStation::start().await;
    let source = "export async function onMessage(message, station) {
      for (let i = 0; i < 30; i++) await station.memory.put('k', i);
      await station.inbox.reply(message.text);
    }";
    let agent = station
        .publish(script("chat", "[capabilities]\nmemory = true\n[limits]\ncalls = 50\n", source))
        .await;
    let id = station.begin(&agent, &json!({})).await;
    for turn in 1..=4 {
        station.say(id, "again").await;
        station.until_replies(id, turn).await;
    }
    assert!(station.until_state(id, RunState::Waiting).await.calls > 100);
}

#[tokio::test]
async fn time_spent_waiting_is_not_the_runs_time() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) { await station.clock.sleep(1_500); return 'done'; }";
    let agent = station.publish(script("sleeper", "[limits]\nrun_seconds = 1\n", source)).await;
    let id = station.begin(&agent, &json!({})).await;
    let ended = station.end(id).await;
    assert!(Duration::from_millis(ended.run.active_ms) < Duration::from_secs(1));
    assert_eq!(ended.succeeded(), json!("done"));
}
