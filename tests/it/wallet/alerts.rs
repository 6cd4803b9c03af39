//! What people are told while a budget is used up.

use super::*;

async fn told(client: &Http) -> Vec<String> {
    let listed = client.get("/api/v1/orgs/default/notifications").await.expect(200).json();
    let titles = listed["items"].as_array().unwrap().iter().rev();
    titles.map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_step_of_a_budget_is_told_once_and_anew_where_its_limit_is_another() {
    let station = TestStation::builder().models(models(0)).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    let client = station.owner();
    let budget = make_budget(&client, 1_050_000, "hold", json!({})).await;
    assert!(told(&client).await.is_empty());
    for _ in 0..10 {
        let run = start(&client, "asker", json!({ "calls": 1 }), None).await;
        end(&client, &run).await;
    }
    let at = |percent: u32| format!("The budget “everything” is at {percent} %");
    let mut expected = vec![at(80), at(95)];
    assert_eq!(told(&client).await, expected);
    // Something is left, too little for a call: that runs wait for it is told, once for all of them.
    let mut held = Vec::new();
    for _ in 0..2 {
        let run = start(&client, "asker", json!({ "calls": 1 }), None).await;
        until(&client, &run, |run| run["state"] == "paused").await;
        held.push(run);
    }
    expected.push("Runs wait for the budget “everything”".to_owned());
    assert_eq!(told(&client).await, expected);
    let limit = async |limit: u64| {
        let body = json!({ "limit_micros": limit }).to_string().into_bytes();
        client
            .send(Method::PATCH, &format!("{BUDGETS}/{budget}"), Some("application/json"), body)
            .await
            .expect(200);
    };
    limit(10_000_000).await;
    for run in held {
        end(&client, &run).await;
    }
    assert_eq!(told(&client).await, expected, "of the larger limit nothing is near");
    limit(1_300_000).await;
    expected.push(at(90));
    assert_eq!(told(&client).await, expected);
    // One that is made when it is spent already says so at once.
    make_budget(&client, 1_000_000, "fail", json!({ "name": "late" })).await;
    expected.push("The budget “late” is used up".to_owned());
    assert_eq!(told(&client).await, expected);
}
