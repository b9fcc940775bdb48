//! A project as JSON: all that an app or an SDK wants to be configured with, but private keys.

use cresset_identity::{ApnsCredential, ApnsSecret, App, Project};
use cresset_message::Platform;
use serde_json::{Value, json};

pub(crate) fn project(project: &Project) -> Value {
    json!({
        "projectId": project.id.as_str(),
        "projectNumber": project.number.to_string(),
        "senderId": project.number.to_string(),
        "displayName": project.display_name,
        "apiKeys": project.api_keys,
        "serverKeys": project.server_keys,
        "serviceAccounts": project
            .service_accounts
            .iter()
            .map(|a| json!({ "email": a.email, "keyIds": a.keys.iter().map(|k| &k.id).collect::<Vec<_>>() }))
            .collect::<Vec<_>>(),
        "webPushKeys": project.web_push_keys.iter().map(|key| key.public_text()).collect::<Vec<_>>(),
        "apnsCredentials": project.apns.iter().map(apns).collect::<Vec<_>>(),
        "apps": project.apps.iter().map(|a| app(project, a)).collect::<Vec<_>>(),
    })
}

/// A credential without its secret.
fn apns(credential: &ApnsCredential) -> Value {
    let environments = [("production", credential.production), ("sandbox", credential.sandbox)];
    let environments: Vec<_> = environments.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    let mut value = json!({ "bundleId": credential.bundle_id, "environments": environments });
    match &credential.secret {
        ApnsSecret::Key { key_id, team_id, .. } => {
            value["keyId"] = key_id.as_str().into();
            value["teamId"] = team_id.as_str().into();
        }
        ApnsSecret::Certificate { .. } => value["certificate"] = true.into(),
    }
    value
}

/// An app, with the configuration in the form its platform reads.
fn app(project: &Project, app: &App) -> Value {
    let mut value = json!({
        "appId": app.id.as_str(),
        "platform": name(app.platform),
        "displayName": app.display_name,
    });
    if !app.package.is_empty() {
        value["package"] = app.package.as_str().into();
    }
    match app.platform {
        Platform::Web => value["config"] = web_config(project, app),
        Platform::Android => value["config"] = google_services(project, app),
        Platform::Ios => {}
    }
    value
}

pub(crate) fn name(platform: Platform) -> &'static str {
    match platform {
        Platform::Android => "android",
        Platform::Ios => "ios",
        Platform::Web => "web",
    }
}

/// What `initializeApp` of the JS SDK takes.
fn web_config(project: &Project, app: &App) -> Value {
    json!({
        "apiKey": project.api_keys.first(),
        "authDomain": format!("{}.firebaseapp.com", project.id),
        "projectId": project.id.as_str(),
        "storageBucket": format!("{}.firebasestorage.app", project.id),
        "messagingSenderId": project.number.to_string(),
        "appId": app.id.as_str(),
        // Not for initializeApp: what getToken() takes (`protocol/web-push.md` §1.3).
        "vapidKey": project.web_push_keys.last().map(|key| key.public_text()),
    })
}

/// `google-services.json` of an Android app.
fn google_services(project: &Project, app: &App) -> Value {
    json!({
        "project_info": {
            "project_number": project.number.to_string(),
            "project_id": project.id.as_str(),
            "storage_bucket": format!("{}.firebasestorage.app", project.id),
        },
        "client": [{
            "client_info": {
                "mobilesdk_app_id": app.id.as_str(),
                "android_client_info": { "package_name": app.package },
            },
            "oauth_client": [],
            "api_key": project.api_keys.iter().map(|key| json!({ "current_key": key })).collect::<Vec<_>>(),
            "services": { "appinvite_service": { "other_platform_oauth_client": [] } },
        }],
        "configuration_version": "1",
    })
}
