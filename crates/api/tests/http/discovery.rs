//! The discovery document, as generic Google API clients ask for it.

use http::StatusCode;

use crate::world::World;

#[tokio::test]
async fn clients_find_the_api_where_they_reached_the_server() {
    let world = World::new().await;
    for (path, host, root) in [
        ("/$discovery/rest?version=v1", "fcm.googleapis.com", "https://fcm.googleapis.com/"),
        ("/$discovery/rest", "push.example:8443", "https://push.example:8443/"),
        ("/discovery/v1/apis/fcm/v1/rest", "www.googleapis.com", "https://www.googleapis.com/"),
        ("/$discovery/rest?version=v1", "what/is\"that", "https://fcm.googleapis.com/"),
    ] {
        let answer = world.request("GET", path, &[("host", host)], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.json()["rootUrl"], root);
        assert_eq!(answer.json()["id"], "fcm:v1");
    }
    for path in ["/$discovery/rest?version=v2", "/discovery/v1/apis/pubsub/v1/rest"] {
        let answer = world.request("GET", path, &[], "").await;
        assert_eq!(answer.refusal(), (404, "NOT_FOUND".to_owned(), String::new()), "{path}");
    }
}
