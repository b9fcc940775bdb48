//! What a call is given: the project in its path, and its body. What is wrong with them is answered in
//! this API's own words.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::response::{IntoResponse as _, Response};
use cresset_message::ProjectId;
use http::StatusCode;
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error;

const MAX_BODY: usize = 64 * 1_024;

/// `{project}` of the path, by its id.
pub(crate) struct Project(pub(crate) ProjectId);

impl<S: Send + Sync> FromRequestParts<S> for Project {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        #[derive(Deserialize)]
        struct Named {
            project: String,
        }
        let named = Path::<Named>::from_request_parts(parts, state).await;
        let Path(Named { project }) = named.map_err(|unreadable| unreadable.into_response())?;
        let id = project.parse().map_err(|problem| error(StatusCode::BAD_REQUEST, &format!("{problem}")))?;
        Ok(Self(id))
    }
}

/// A body in JSON, whatever its content type.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|_| error(StatusCode::BAD_REQUEST, "The body could not be read."))?;
        let value = serde_json::from_slice(&body.to_bytes());
        value.map(Self).map_err(|e| error(StatusCode::BAD_REQUEST, &e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::post;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    type Key = Path<(String, String)>;

    async fn serve(Project(id): Project, Path((_, key)): Key, Json(body): Json<Vec<u32>>) -> Response {
        crate::ok(serde_json::json!([id.as_str(), key, body]))
    }

    async fn answer(path: &str, body: Vec<u8>) -> (u16, String) {
        let router = Router::new().route("/projects/{project}/keys/{key}", post(serve));
        let request = Request::post(path).body(Body::from(body)).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        match body["error"]["message"].as_str() {
            Some(message) => {
                assert_eq!(body["error"]["code"], status);
                (status, message.to_owned())
            }
            None => (status, body.to_string()),
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_the_path_before_the_body() {
        let large = [vec![b' '; MAX_BODY], b"[1]".to_vec()].concat();
        let rows: [(&str, Vec<u8>, u16, &str); 5] = [
            ("/projects/demo/keys/a%2Fb", b"[1, 2]".to_vec(), 200, r#"["demo","a/b",[1,2]]"#),
            ("/projects/x/keys/k", b"[".to_vec(), 400, "project id must have 4 to 30 characters"),
            ("/projects/demo/keys/k", b"".to_vec(), 400, "EOF while parsing a value at line 1 column 0"),
            (
                "/projects/demo/keys/k",
                b"[-1]".to_vec(),
                400,
                "invalid value: integer `-1`, expected u32 at line 1 column 3",
            ),
            ("/projects/demo/keys/k", large, 400, "The body could not be read."),
        ];
        for (path, body, status, told) in rows {
            assert_eq!(answer(path, body).await, (status, told.to_owned()), "{path}");
        }
    }
}
