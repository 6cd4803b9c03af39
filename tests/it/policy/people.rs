//! Who decides what a rule asks, and how many of them must agree.

use agentstation::domain::permission::Role;
use agentstation::domain::wait::{ApprovalState, Verb};
use agentstation::services::Error;
use agentstation::services::policy::Of;
use serde_json::{Value, json};

use super::{Bench, any_post, asking, rule};
use crate::support::{Browser, PASSWORD};

#[tokio::test]
async fn two_people_must_agree_and_the_same_one_twice_does_not_count() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Org,
            json!([asking("two", any_post(), json!({ "count": 2, "min_role": "admin" }))]),
        )
        .await;
    let (admin, operator) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    let ana = bench.station.actor().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let refused = bench.say(&operator, &asked, Verb::Approve, None).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Refused(why) if why.contains("2 admins") && why.contains("operator")),
        "{refused}"
    );
    let once = bench.say(&ana, &asked, Verb::Approve, None).await.unwrap();
    assert_eq!((once.state, once.votes.len()), (ApprovalState::Pending, 1));
    assert!(matches!(
        bench.say(&ana, &asked, Verb::Approve, None).await,
        Err(Error::Conflict(_))
    ));
    assert!(bench.site.asked().is_empty());

    let http = bench.station.owner();
    let shown = http.get(&format!("/api/v1/approvals/{}", asked.id)).await.expect(200).json();
    assert_eq!(
        (&shown["quorum"], &shown["agreed"], &shown["min_role"]),
        (&json!(2), &json!(1), &json!("admin"))
    );
    assert_eq!(shown["votes"][0]["by_name"], "Ana");
    let mut browser = Browser::sign_in(bench.station.address, "operator@example.com", PASSWORD).await;
    for page in ["/approvals".to_owned(), format!("/approvals/{}", asked.id), format!("/runs/{id}")] {
        let page = browser.get(&page).await.expect(200);
        assert!(
            page.body.contains("1 of 2 approved: Ana") && page.body.contains("It asks 2 admins"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("value=\"approve\"") && page.body.contains("your role is operator"));
    }

    let twice = bench.say(&admin, &asked, Verb::Approve, None).await.unwrap();
    assert_eq!(twice.state, ApprovalState::Decided);
    let ended = bench.station.end(id).await;
    let kinds: Vec<_> = ended
        .entries
        .iter()
        .map(|entry| entry.kind.as_str())
        .filter(|kind| kind.starts_with("approval."))
        .collect();
    assert_eq!(kinds, ["approval.voted", "approval.decided"]);
    assert_eq!(ended.succeeded(), json!([200]));
    let denied = bench.audit("approval.decide").await;
    assert_eq!(denied.iter().filter(|row| row.outcome == "denied").count(), 1);
    let page = browser.get(&format!("/approvals/{}", asked.id)).await.expect(200);
    assert!(page.body.contains("Approved by Ana and admin"), "{}", page.body);
}

#[tokio::test]
async fn two_who_approve_at_once_make_two() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([asking("two", any_post(), json!({ "count": 2 }))])).await;
    let (one, two) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let (first, second) = tokio::join!(
        bench.say(&one, &asked, Verb::Approve, None),
        bench.say(&two, &asked, Verb::Approve, None)
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked().len(), 1, "it was sent once");
}

#[tokio::test]
async fn anyone_denies_at_once_even_where_several_must_agree() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([asking("two", any_post(), json!({ "count": 2 }))])).await;
    let operator = bench.member(Role::Operator).await;
    let ana = bench.station.actor().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    bench.say(&ana, &asked, Verb::Approve, None).await.unwrap();
    bench.say(&operator, &asked, Verb::Deny, None).await.unwrap();
    let said = bench.station.end(id).await.succeeded();
    assert_eq!(said, json!(["denied: operator denied this"]));
}

#[tokio::test]
async fn an_edit_needs_as_many_people_for_the_very_same_arguments() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([asking("two", any_post(), json!({ "count": 2 }))])).await;
    let (admin, operator) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    let ana = bench.station.actor().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let mut edited: Value = serde_json::from_str(&asked.arguments).unwrap();
    edited["url"] = json!(bench.site.url("/four"));
    bench.say(&ana, &asked, Verb::Approve, None).await.unwrap();
    let still = bench.say(&admin, &asked, Verb::Edit, Some(edited.clone())).await.unwrap();
    assert_eq!(still.state, ApprovalState::Pending, "one is for this and one for that");
    let mut browser = bench.station.browser().await;
    let page = browser.get(&format!("/approvals/{}", asked.id)).await.expect(200);
    assert!(
        page.body.contains("With other arguments: admin") && page.body.contains("Approve these arguments"),
        "{}",
        page.body
    );
    let decided = bench.say(&operator, &asked, Verb::Edit, Some(edited)).await.unwrap();
    assert_eq!(decided.state, ApprovalState::Decided);
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked()[0].path, "/four");
}

#[tokio::test]
async fn who_started_a_run_does_not_decide_it_where_the_rule_says_so() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Workspace,
            json!([asking("others", any_post(), json!({ "self_approval": false }))]),
        )
        .await;
    let operator = bench.member(Role::Operator).await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let path = format!("/api/v1/approvals/{}/decision", asked.id);
    let refused = bench
        .station
        .owner()
        .post(&path, &json!({ "decision": "approve" }))
        .await
        .expect(403);
    assert_eq!(refused.problem(), "forbidden");
    assert!(refused.body.contains("you started this run"), "{}", refused.body);
    let mut browser = bench.station.browser().await;
    let page = browser.get("/approvals").await.expect(200);
    assert!(
        page.body.contains("You may not decide it: you started this run") && !page.body.contains("value=\"deny\""),
        "{}",
        page.body
    );
    browser
        .submit(&format!("/approvals/{}", asked.id), &[("decision", "approve"), ("place", "queue")])
        .await
        .expect(403);
    bench.say(&operator, &asked, Verb::Approve, None).await.unwrap();
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
}

#[tokio::test]
async fn leave_of_fewer_people_than_the_rule_wants_is_not_enough() {
    let bench = Bench::start().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    assert_eq!(asked.rule, "default.ask-before-writes");
    let (admin, operator) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    // The rules become stricter while the run waits: what one operator gave leave for now needs two admins.
    bench
        .set(
            Of::Org,
            json!([asking("two", any_post(), json!({ "count": 2, "min_role": "admin" }))]),
        )
        .await;
    bench.say(&operator, &asked, Verb::Approve, None).await.unwrap();
    let again = bench.station.until_asked(id).await;
    assert_eq!((again.rule.as_str(), again.approvers.count), ("org/two", 2));
    assert!(bench.site.asked().is_empty());
    let ana = bench.station.actor().await;
    bench.say(&ana, &again, Verb::Approve, None).await.unwrap();
    bench.say(&admin, &again, Verb::Approve, None).await.unwrap();
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked().len(), 1);
}

#[tokio::test]
async fn an_edit_cannot_lead_where_others_are_to_be_asked() {
    let bench = Bench::start().await;
    let strict = json!({ "http": { "hosts": ["*"], "methods": ["POST"], "path_prefix": "/bank" } });
    bench
        .set(
            Of::Org,
            json!([
                asking("bank", strict, json!({ "min_role": "admin" })),
                rule("rest", "ask", any_post())
            ]),
        )
        .await;
    let (operator, admin) = (bench.member(Role::Operator).await, bench.member(Role::Admin).await);
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let mut edited: Value = serde_json::from_str(&asked.arguments).unwrap();
    edited["url"] = json!(bench.site.url("/bank/pay"));
    bench.say(&operator, &asked, Verb::Edit, Some(edited)).await.unwrap();
    let again = bench.station.until_asked(id).await;
    assert_eq!(again.rule, "org/bank");
    assert!(matches!(
        bench.say(&operator, &again, Verb::Approve, None).await,
        Err(Error::Refused(_))
    ));
    bench.say(&admin, &again, Verb::Approve, None).await.unwrap();
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked()[0].path, "/bank/pay", "what the admin saw is what was sent");
}
