//! What became of a message is told to whoever may send for its project.

use cresset_e2e::{TestServer, World, patiently};
use serde_json::{Value, json};

use crate::support::{next, saying_with};

async fn told(world: &World, id: &str) -> Value {
    let http = world.sender().await.unwrap();
    let id = id.replace('%', "%25");
    let path = format!("/cresset/v1/projects/{}/messages/{id}", world.project);
    let authorization = world.authorization();
    let mut request = http.request(&path, &[("authorization", authorization.as_str())]).unwrap();
    *request.method_mut() = http::Method::GET;
    let answer = http.send(request, String::new().into()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn from_acceptance_to_acknowledgement_and_a_newer_one_takes_the_place_of_an_older() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let keyed = |word: &str| saying_with(&device, word, json!({ "collapse_key": "score" }));
    let older = world.accept(&keyed("1")).await.unwrap();
    let newer = world.accept(&keyed("2")).await.unwrap();
    let state = |told: &Value| told["deliveries"][0]["state"].as_str().unwrap().to_owned();
    assert_eq!(state(&told(&world, &older).await), "waiting");

    let mut connection = world.connect(&device).await.unwrap();
    let message = next(&mut connection).await;
    assert_eq!(message.get("word"), Some("2"));
    let collapsed = told(&world, &older).await;
    assert_eq!((state(&collapsed), &collapsed["deliveries"][0]["by"]), ("collapsed".into(), &json!(newer)));
    let sent = told(&world, &newer).await;
    assert_eq!((state(&sent), sent["deliveries"][0]["sent"].is_string()), ("sent".into(), true));

    connection.acknowledge(&message).await.unwrap();
    patiently("the acknowledgement", async { while state(&told(&world, &newer).await) != "acknowledged" {} })
        .await;
    let told = told(&world, &newer).await;
    assert_eq!(told["counts"]["acknowledged"], 1);
    assert_eq!(told["deliveries"][0]["token"], device.token);
}
