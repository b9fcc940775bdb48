//! A device that prints what it gets: `receive HTTP_BASE MCS CA_PEM SENDER [PROJECT API_KEY WEB_APP_ID]`.
//!
//! With `cresset up` running in the same folder:
//!
//! ```text
//! cargo run -p cresset-device-client --example receive -- \
//!     http://127.0.0.1:8080 127.0.0.1:5228 cresset-data/ca.pem <sender id> [demo <API key> <web app id>]
//! ```

use cresset_device_client::{Acks, App, Client, ConnectOptions, Endpoints, Register3, Trust};

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
    let device = client.check_in(None).await?;
    let token = client.register3(&device, &Register3::android("com.example.demo", sender)).await?;
    println!("android token: {token}");

    let mut web_app = None;
    if let [project_id, api_key, app_id] = web {
        let (project_id, api_key, app_id) = (project_id.clone(), api_key.clone(), app_id.clone());
        let app = App { project_id, api_key, app_id };
        let registration = client.register_web(&device, &app, "wp:receive.example#1").await?;
        println!("web token: {}", registration.token);
        web_app = Some(registration);
    }

    let options = ConnectOptions { acks: Acks::Automatic, ..ConnectOptions::default() };
    let mut connection = client.connect(&device, options).await?;
    while let Some(message) = connection.next().await? {
        match web_app.as_ref().filter(|app| app.is_for(&message)) {
            Some(app) => println!("{} {}", message.persistent_id(), app.open(&message)?),
            None => println!("{} {:?}", message.persistent_id(), message.data().collect::<Vec<_>>()),
        }
    }
    Ok(())
}
