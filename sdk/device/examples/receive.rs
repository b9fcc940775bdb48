//! A device that prints what it gets: `receive HTTP_BASE MCS CA_PEM SENDER [PROJECT API_KEY WEB_APP_ID]`.
//! `cresset listen` does the same with less to type.
//!
//! With `cresset up` running in the same folder:
//!
//! ```text
//! cargo run -p cresset-device-client --example receive -- \
//!     http://127.0.0.1:8080 127.0.0.1:5228 cresset-data/ca.pem <sender id> [demo <API key> <web app id>]
//! ```

use cresset_device_client::{AndroidApp, App, Client, Endpoints, Event, Receiver, Trust, WebApp};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [http_base, mcs, ca, sender, web @ ..] = arguments.as_slice() else {
        return Err("receive HTTP_BASE MCS CA_PEM SENDER [PROJECT API_KEY WEB_APP_ID]".into());
    };
    let endpoints = Endpoints {
        http_base: http_base.clone(),
        mcs: mcs.clone(),
        server_name: Some("mtalk.google.com".into()),
    };
    let client = Client::new(endpoints, Trust::pem(&std::fs::read_to_string(ca)?)?)?;
    let receiver = match web {
        [project_id, api_key, app_id] => {
            let (project_id, api_key, app_id) = (project_id.clone(), api_key.clone(), app_id.clone());
            Receiver::web(client, WebApp::new(App { project_id, api_key, app_id }))
        }
        _ => Receiver::android(client, AndroidApp::new("com.example.demo", sender)),
    };
    let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let print = async |event| match event {
        Event::Token(token) => println!("token: {token}"),
        Event::Message(message) => println!("{} {:?} {:?}", message.id, message.notification, message.data),
        other => println!("{other:?}"),
    };
    Ok(receiver.open()?.run(ctrl_c, print).await?)
}
