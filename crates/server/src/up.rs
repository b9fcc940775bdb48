//! `cresset up` and `cresset serve`: start, say what there is, serve until told to stop.

use cresset_identity::NewApp;
use cresset_message::{Platform, ProjectId};

use crate::cli::Up;
use crate::config::Config;
use crate::failure::Failure;
use crate::server::{Server, asked_to_stop};
use crate::{clock, data, telemetry};

pub async fn up(args: &Up) -> Result<(), Failure> {
    let mut config = args.config();
    // The screenful below says what matters; later, what went wrong does.
    if args.log.log_level.is_none() {
        config.log.level = "warn,cresset=info".into();
    }
    telemetry::start(&config.log)?;
    let project: ProjectId =
        args.project.parse().map_err(|e| Failure::new(format!("--project `{}`: {e}", args.project)))?;
    crate::files::allow_many();
    let server = Server::start(&config).await?;
    have_project(&server, &project).await?;
    let token = if args.hello { Some(crate::hello::run(&server, &project).await?) } else { None };
    print!("{}", screenful(&server, &project, token.as_deref()));
    serve_until_told(server).await
}

pub async fn serve(config: Config) -> Result<(), Failure> {
    telemetry::start(&config.log)?;
    crate::files::allow_as_configured(&config);
    let server = Server::start(&config).await?;
    let running = &server.running;
    let xmpp = running.xmpp.map_or_else(|| "off".to_owned(), |address| address.to_string());
    tracing::info!(https = %running.https, http = %running.http, mcs = %running.mcs, xmpp = xmpp.as_str(), data = %server.folder.path().display(), "Cresset serves");
    serve_until_told(server).await
}

async fn serve_until_told(server: Server) -> Result<(), Failure> {
    let signal = asked_to_stop().await?;
    tracing::info!("{signal}: no new connections, finishing what is in flight");
    if server.stop().await {
        tracing::info!("stopped");
    } else {
        tracing::warn!(
            "stopped before everything in flight was done: told again, or shutdown.drain_seconds were over"
        );
    }
    Ok(())
}

/// Makes the project with an app of each platform and a service account, if it is not there.
async fn have_project(server: &Server, project: &ProjectId) -> Result<(), Failure> {
    let failed = |e: cresset_identity::ProjectError| Failure::new(format!("the project `{project}`: {e}"));
    let identity = &server.identity;
    if identity.project(project.as_str()).is_none() {
        identity.create_project(project, "", None, clock::now()).await.map_err(failed)?;
        let package = format!("com.example.{}", project.as_str().replace('-', "_"));
        for (platform, package) in
            [(Platform::Android, package.as_str()), (Platform::Ios, package.as_str()), (Platform::Web, "")]
        {
            let app = NewApp { platform, package: package.into(), display_name: String::new() };
            identity.add_app(project, app, clock::now()).await.map_err(failed)?;
        }
    }
    let file = server.folder.credentials(project.as_str());
    if !file.exists() {
        let made = identity.add_service_account_key(project, clock::now()).await.map_err(failed)?;
        data::write_secret(&file, format!("{:#}\n", made.0).as_bytes())?;
    }
    Ok(())
}

fn screenful(server: &Server, id: &ProjectId, token: Option<&str>) -> String {
    let running = &server.running;
    let Some(project) = server.identity.project(id.as_str()) else { return String::new() };
    let first = |keys: &[String]| keys.first().cloned().unwrap_or_default();
    let server_key: String = first(&project.server_keys).chars().take(20).collect();
    let mut out = format!(
        "\nCresset {} is up: Firebase Cloud Messaging, here.\n\n\
         \x20 HTTPS   https://{}   send API, OAuth, registration (HTTP/1.1, HTTP/2)\n\
         \x20 HTTP    http://{}   the same without TLS, /healthz, /readyz\n\
         \x20 MCS     {}   devices stay connected here\n\
         \x20 XMPP    {}   app servers of old stay connected here\n\
         \x20 data    {}\n\
         \x20 CA      {}\n\n\
         \x20 project {id}   number and sender id {}   API key {}\n\
         \x20 account {}\n\
         \x20 legacy  server key {server_key}…   (cresset project show {id})\n",
        env!("CARGO_PKG_VERSION"),
        running.https,
        running.http,
        running.mcs,
        running.xmpp.map_or_else(|| "not served".to_owned(), |address| address.to_string()),
        server.folder.path().display(),
        server.folder.ca().display(),
        project.number,
        first(&project.api_keys),
        server.folder.credentials(id.as_str()).display(),
    );
    for app in &project.apps {
        out.push_str(&format!("  app     {}   {}\n", app.id, app.package));
    }
    // As it was typed: a newcomer has it in target/, not on the path.
    let this = std::env::args().next().unwrap_or_else(|| "cresset".into());
    let data = match server.folder.path() {
        path if std::env::current_dir().is_ok_and(|here| here.join("cresset-data") == path) => String::new(),
        path => format!(" --data {}", quoted(&path.display().to_string())),
    };
    let folder = data.replace("--data", "--folder");
    out.push_str(&format!(
        "\nNext:\n\
         \x20 {this} doctor{data}                     checks that programs can be led here\n\
         \x20 {this} exec{data} -- node app.mjs       your app with an unmodified Admin SDK, against this server\n\
         \x20 {this} send{folder} --token TOKEN --title Hi    a message, without any SDK\n\
         \x20 {this} listen{folder}                     a device: prints its token, and what is sent to it\n\
         \x20 {this} project{data} web-config {id}    what initializeApp() of the JS SDK takes\n",
    ));
    if let Some(token) = token {
        out.push_str(&format!(
            "\nThe device stays connected and prints what is sent to its registration token:\n{token}\n"
        ));
    }
    if let Some(why) = &running.exec_refused {
        out.push_str(&format!("\n`cresset exec` has nowhere to lead to: {why}\n"));
    }
    out.push_str("\nCtrl-C stops it.\n\n");
    out
}

/// As a shell wants it.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+".contains(&b);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
