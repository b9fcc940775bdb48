//! The command line: what can be asked, and which module answers.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, LogFormat, Outgoing, QuotaProfile};
use crate::failure::Failure;

/// Firebase Cloud Messaging as software that anyone can run.
#[derive(Debug, Parser)]
#[command(name = "cresset", version, arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a data folder, a CA and a demo project where there are none; serve everything; say what to do next
    Up(Up),
    /// Serve, for production: from one configuration file
    Serve(Serve),
    /// Create, list, show and delete projects, and what apps and SDKs are configured with
    Project(Project),
    /// Send a message: to the running Cresset, to another one, or to Google
    Send(Send),
    /// Be a device: print a token to send to, and each message as it arrives
    Listen(Listen),
    /// Where is my push: what became of a message, device by device
    Trace(Trace),
    /// Run a command in which Google's messaging hosts lead to the running Cresset
    Exec(Exec),
    /// Check from inside such a world that every name resolves, answers and is trusted
    Doctor(Doctor),
}

#[derive(Debug, Args)]
pub struct DataArgs {
    /// The data folder
    #[arg(long = "data", value_name = "DIR", default_value = "cresset-data", env = "CRESSET_DATA")]
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub data: DataArgs,
    /// Address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "CRESSET_LISTEN")]
    pub listen: IpAddr,
    /// HTTPS: all HTTP APIs, HTTP/1.1 and HTTP/2
    #[arg(long, value_name = "PORT", default_value_t = 8443, env = "CRESSET_HTTPS_PORT")]
    pub https_port: u16,
    /// HTTP: the same without TLS, and health
    #[arg(long, value_name = "PORT", default_value_t = 8080, env = "CRESSET_HTTP_PORT")]
    pub http_port: u16,
    /// MCS: the connection that devices keep
    #[arg(long, value_name = "PORT", default_value_t = 5228, env = "CRESSET_MCS_PORT")]
    pub mcs_port: u16,
    /// XMPP: the connection that app servers of old keep; "off": not served
    #[arg(long, value_name = "PORT", default_value = "5235", env = "CRESSET_XMPP_PORT")]
    pub xmpp_port: XmppPort,
    /// Loopback address for `cresset exec`, where 443 and 5228 are listened to if that is allowed; "none": do not
    #[arg(long, value_name = "ADDRESS", default_value = crate::exec::ADDRESS, env = "CRESSET_EXEC_ADDRESS")]
    pub exec_address: String,
    /// The project to have ready
    #[arg(long, value_name = "PROJECT", default_value = "demo")]
    pub project: String,
    /// FCM's limits on how much a project and a device may be sent, or none
    #[arg(long, value_enum, default_value = "off", env = "CRESSET_QUOTAS")]
    pub quotas: QuotaProfile,
    /// Also register a device, send it a message through the HTTP v1 API, and show it arriving
    #[arg(long)]
    pub hello: bool,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Unlike the other ports it may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XmppPort(Option<u16>);

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Lines for people, or one JSON object a line [default: text]
    #[arg(long, value_enum, env = "CRESSET_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// error, warn, info, debug, trace; or per part: info,cresset_device=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "CRESSET_LOG_LEVEL")]
    pub log_level: Option<String>,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "CRESSET_CONFIG",
        required_unless_present = "print_config"
    )]
    pub config: Option<PathBuf>,
    /// Print the configuration with every key at its default, commented, and end
    #[arg(long)]
    pub print_config: bool,
    /// Overrides `data`
    #[arg(long, value_name = "DIR", env = "CRESSET_DATA")]
    pub data: Option<PathBuf>,
    /// Overrides the port of `listen.https`
    #[arg(long, value_name = "PORT", env = "CRESSET_HTTPS_PORT")]
    pub https_port: Option<u16>,
    /// Overrides the port of `listen.http`
    #[arg(long, value_name = "PORT", env = "CRESSET_HTTP_PORT")]
    pub http_port: Option<u16>,
    /// Overrides the port of `listen.mcs`
    #[arg(long, value_name = "PORT", env = "CRESSET_MCS_PORT")]
    pub mcs_port: Option<u16>,
    /// Overrides the port of `listen.xmpp`; "off": not served
    #[arg(long, value_name = "PORT", env = "CRESSET_XMPP_PORT")]
    pub xmpp_port: Option<XmppPort>,
    /// Overrides `quotas.profile`
    #[arg(long, value_enum, env = "CRESSET_QUOTAS")]
    pub quotas: Option<QuotaProfile>,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct Project {
    #[command(flatten)]
    pub data: DataArgs,
    #[command(subcommand)]
    pub command: ProjectCommand,
}

#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Create a project with an API key, a server key and a service account
    Create {
        /// 4 to 30 lower-case letters, digits and hyphens
        #[arg(value_parser = project_name)]
        project: String,
        /// Name for people
        #[arg(long, default_value = "")]
        name: String,
        /// Project number, which is also the sender id [default: drawn]
        #[arg(long)]
        number: Option<u64>,
    },
    /// List the projects
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a project: numbers, keys, apps
    Show {
        #[arg(value_parser = project_name)]
        project: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a project, with its apps and credentials; its devices no longer receive
    Delete {
        #[arg(value_parser = project_name)]
        project: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
    /// Add an app
    AddApp {
        #[arg(value_parser = project_name)]
        project: String,
        #[arg(long, value_parser = ["android", "ios", "web"])]
        platform: String,
        /// Package or bundle name, such as com.example.app
        #[arg(long, default_value = "")]
        package: String,
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Make a new key of the service account and print its JSON file
    ServiceAccount {
        #[arg(value_parser = project_name)]
        project: String,
        /// Keep it in the data folder too, for `cresset exec`
        #[arg(long)]
        save: bool,
    },
    /// Print an `authorized_user` credential (refresh token) as a JSON file
    UserCredential {
        #[arg(value_parser = project_name)]
        project: String,
    },
    /// Print the Web Push key that the JS SDK's getToken() takes as `vapidKey`
    WebPushKey {
        #[arg(value_parser = project_name)]
        project: String,
        /// Make a new one; subscriptions made with the others go on
        #[arg(long, conflicts_with = "import")]
        new: bool,
        /// Take in a private key that exists: 32 bytes in base64url
        #[arg(long, value_name = "PRIVATE_KEY")]
        import: Option<String>,
    },
    /// Set, or remove, what APNs knows an app by
    Apns {
        #[arg(value_parser = project_name)]
        project: String,
        /// Bundle id of an app of the project
        #[arg(long)]
        bundle_id: String,
        /// The key's .p8 file, or the private key of a certificate
        #[arg(long, value_name = "FILE", required_unless_present = "remove")]
        key: Option<std::path::PathBuf>,
        /// Ten characters that Apple gave with the key
        #[arg(long, requires = "team_id")]
        key_id: Option<String>,
        /// Ten characters of the developer account
        #[arg(long)]
        team_id: Option<String>,
        /// A certificate with its chain, PEM, instead of a key
        #[arg(long, value_name = "FILE", conflicts_with = "key_id")]
        certificate: Option<std::path::PathBuf>,
        /// For one of the two only; for both otherwise
        #[arg(long, value_parser = ["production", "sandbox"])]
        environment: Option<String>,
        /// Forget all credentials of the app
        #[arg(long, conflicts_with_all = ["key", "certificate"])]
        remove: bool,
    },
    /// Print the API key
    ApiKey {
        #[arg(value_parser = project_name)]
        project: String,
        /// Make another one
        #[arg(long)]
        new: bool,
    },
    /// Print google-services.json of an Android app
    #[command(name = "google-services.json", alias = "google-services")]
    GoogleServices {
        #[arg(value_parser = project_name)]
        project: String,
        /// Package name [default: the first Android app]
        #[arg(long)]
        package: Option<String>,
    },
    /// Print what initializeApp() of the Firebase JS SDK takes
    WebConfig {
        #[arg(value_parser = project_name)]
        project: String,
        /// App id [default: the first web app]
        #[arg(long)]
        app: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Send {
    #[command(flatten)]
    pub target: SendTarget,
    #[command(flatten)]
    pub content: SendContent,
    /// Check the message and answer as usual, but do not deliver it
    #[arg(long)]
    pub dry_run: bool,
    /// Print the answer as JSON, a refusal too
    #[arg(long)]
    pub json: bool,
    /// Whose message it is [default: demo, or the project of --credentials]
    #[arg(long, value_parser = project_name)]
    pub project: Option<String>,
    /// The data folder, whose Cresset runs
    #[arg(long, value_name = "DIR", default_value = "cresset-data", env = "CRESSET_DATA")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub elsewhere: SendElsewhere,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// What `send` printed, its last part, or the persistent id that a device saw
    #[arg(value_name = "MESSAGE_ID")]
    pub message: String,
    /// Whose message it is [default: the project in MESSAGE_ID, or demo]
    #[arg(long, value_parser = project_name)]
    pub project: Option<String>,
    /// Deliveries to tell of at most; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Print what Cresset's API answers: one JSON object a page
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub data: DataArgs,
}

/// Whom it is for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SendTarget {
    /// To a registration token
    #[arg(long, allow_hyphen_values = true)]
    pub token: Option<String>,
    /// To a Firebase Installation ID
    #[arg(long, allow_hyphen_values = true)]
    pub fid: Option<String>,
    /// To those who subscribed to a topic
    #[arg(long, allow_hyphen_values = true)]
    pub topic: Option<String>,
    /// To those for whom it holds, such as "'dogs' in topics && 'cats' in topics"
    #[arg(long, allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// A whole message or request of HTTP v1 as JSON, sent as it is written; "-": standard input
    #[arg(long, value_name = "FILE")]
    pub message: Option<PathBuf>,
}

/// What it says.
#[derive(Debug, Args)]
#[group(multiple = true, conflicts_with = "message")]
pub struct SendContent {
    /// Title of the notification
    #[arg(long, allow_hyphen_values = true)]
    pub title: Option<String>,
    /// Body of the notification
    #[arg(long, allow_hyphen_values = true)]
    pub body: Option<String>,
    /// URL of the notification's picture
    #[arg(long, value_name = "URL")]
    pub image: Option<String>,
    /// An entry for the app; may be said several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = entry, allow_hyphen_values = true)]
    pub data: Vec<(String, String)>,
    /// How urgent it is for Android
    #[arg(long, value_parser = ["normal", "high"])]
    pub priority: Option<String>,
    /// How long it is stored for an Android device that is away; 0: now or never [default: four weeks]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub ttl: Option<Duration>,
    /// It replaces a stored message for Android with the same key
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub collapse_key: Option<String>,
}

/// Where it is sent, if not to the Cresset of the data folder.
#[derive(Debug, Args)]
#[group(multiple = true)]
pub struct SendElsewhere {
    /// To Google
    #[arg(long, group = "elsewhere")]
    pub google: bool,
    /// To the Cresset at this URL, such as https://push.example.com
    #[arg(long, value_name = "URL", group = "elsewhere", requires = "credentials")]
    pub url: Option<String>,
    /// A key file [default for Google: what its libraries find]
    #[arg(long, value_name = "FILE", requires = "elsewhere")]
    pub credentials: Option<PathBuf>,
    /// Certificates (PEM) that are trusted besides the system's
    #[arg(long, value_name = "FILE", requires = "elsewhere")]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each message is a line of standard output; that the connection was made or lost is told on standard \
error. It ends with code 0 at Ctrl-C and after --count messages, with 1 when waiting cannot help, and \
with 2 when it was called wrongly.")]
pub struct Listen {
    /// Join a topic; may be said several times
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub topic: Vec<String>,
    /// As a web app, whose messages come sealed [default: as an Android app]
    #[arg(long)]
    pub web: bool,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Keep identity and token in this file, to be the same device the next time
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Whose app it is [default: demo]
    #[arg(long, value_parser = project_name)]
    pub project: Option<String>,
    /// The Android app's package [default: the first of the project]
    #[arg(long, value_name = "NAME", conflicts_with = "web")]
    pub package: Option<String>,
    /// The web app's id, or that of an Android app elsewhere [default: the first of the project]
    #[arg(long, value_name = "ID")]
    pub app_id: Option<String>,
    /// The public key that a web app subscribes with [default: that of all apps without their own]
    #[arg(long, value_name = "KEY", requires = "web", allow_hyphen_values = true)]
    pub vapid_key: Option<String>,
    /// The data folder, whose Cresset runs
    #[arg(long, value_name = "DIR", default_value = "cresset-data", env = "CRESSET_DATA")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub elsewhere: ListenElsewhere,
}

/// What it listens to, if not to the Cresset of the data folder.
#[derive(Debug, Args)]
#[group(multiple = true)]
pub struct ListenElsewhere {
    /// To Google
    #[arg(long, group = "listen_elsewhere")]
    pub google: bool,
    /// To the Cresset at this URL, such as https://push.example.com
    #[arg(long, value_name = "URL", group = "listen_elsewhere", requires = "mcs")]
    pub url: Option<String>,
    /// Where that one's devices stay connected, such as push.example.com:5228
    #[arg(long, value_name = "HOST:PORT", requires = "url")]
    pub mcs: Option<String>,
    /// The project's API key
    #[arg(long, value_name = "KEY", requires = "listen_elsewhere")]
    pub api_key: Option<String>,
    /// The project's number, for an Android app
    #[arg(long, value_name = "NUMBER", requires = "listen_elsewhere")]
    pub sender_id: Option<String>,
    /// Certificates (PEM) that are trusted besides the system's
    #[arg(long, value_name = "FILE", requires = "listen_elsewhere")]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    pub data: DataArgs,
    /// Whose service account the command gets
    #[arg(long, default_value = "demo", value_parser = project_name)]
    pub project: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub data: DataArgs,
    /// Whose service account is tried
    #[arg(long, default_value = "demo", value_parser = project_name)]
    pub project: String,
    /// Only print the host names that clients have in their code
    #[arg(long)]
    pub names: bool,
    /// Set by `doctor` itself for the part that runs inside
    #[arg(long, hide = true, value_name = "ADDRESS")]
    pub inside: Option<IpAddr>,
}

/// A project's id, or its number: nothing that would lead elsewhere as part of a path.
fn project_name(text: &str) -> Result<String, String> {
    let is_number = text.parse::<cresset_message::ProjectNumber>().is_ok();
    match text.parse::<cresset_message::ProjectId>() {
        Err(problem) if !is_number => Err(problem.to_string()),
        _ => Ok(text.to_owned()),
    }
}

fn entry(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is not KEY=VALUE (--folder names a data folder)")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// As FCM writes them too: `60s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse();
    seconds.map(Duration::from_secs).map_err(|_| "it is not a whole number of seconds".into())
}

impl LogArgs {
    fn apply(&self, config: &mut Config) {
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        if let Some(level) = &self.log_level {
            config.log.level.clone_from(level);
        }
    }
}

impl Up {
    pub fn config(&self) -> Config {
        let mut config = Config { data: self.data.folder.clone(), ..Config::default() };
        config.listen.https = SocketAddr::new(self.listen, self.https_port);
        config.listen.http = SocketAddr::new(self.listen, self.http_port);
        config.listen.mcs = SocketAddr::new(self.listen, self.mcs_port);
        config.listen.xmpp = self.xmpp_port.at(self.listen);
        config.listen.exec =
            if self.exec_address == "none" { String::new() } else { self.exec_address.clone() };
        config.quotas.profile = self.quotas;
        config.outgoing = Outgoing::to_this_machine(&self.data.folder);
        self.log.apply(&mut config);
        config
    }
}

impl XmppPort {
    fn at(self, address: IpAddr) -> String {
        self.0.map_or_else(String::new, |port| SocketAddr::new(address, port).to_string())
    }
}

impl std::str::FromStr for XmppPort {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|port| Self(Some(port))) }
    }
}

impl Serve {
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        let ports = [
            (&mut config.listen.https, self.https_port),
            (&mut config.listen.http, self.http_port),
            (&mut config.listen.mcs, self.mcs_port),
        ];
        for (address, port) in ports {
            if let Some(port) = port {
                address.set_port(port);
            }
        }
        if let Some(port) = self.xmpp_port {
            let address = config
                .listen
                .xmpp
                .parse()
                .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at: SocketAddr| at.ip());
            config.listen.xmpp = port.at(address);
        }
        if let Some(profile) = self.quotas {
            config.quotas.profile = profile;
        }
        self.log.apply(&mut config);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_send_has_one_target_and_one_way_to_say_what() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).map_err(|e| e.exit_code());
        for good in [
            "cresset send --token T",
            "cresset send --topic news --data a=1 --data b= --data c=d=e --ttl 60s --priority high",
            "cresset send --message - --dry-run",
            "cresset send --fid F --google --credentials key.json",
            "cresset send --fid F --url https://push.example.com --credentials key.json --ca ca.pem --json",
        ] {
            assert!(parses(good).is_ok(), "{good}");
        }
        for bad in [
            "cresset send",
            "cresset send --title Hi",
            "cresset send --token T --topic news",
            "cresset send --token T --message -",
            "cresset send --message - --title Hi",
            "cresset send --message - --data a=1",
            "cresset send --token T --data folder",
            "cresset send --token T --ttl soon",
            "cresset send --token T --priority urgent",
            "cresset send --token T --google --url https://push.example.com",
            "cresset send --token T --credentials key.json",
            "cresset send --token T --url https://push.example.com",
            "cresset send --token T --project ../x",
        ] {
            assert_eq!(parses(bad).err(), Some(2), "{bad}");
        }
    }

    #[test]
    fn a_device_is_of_this_cresset_or_described_whole() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).map_err(|e| e.exit_code());
        for good in [
            "cresset listen",
            "cresset listen --topic news --topic -x --count 3 --json --state device.json",
            "cresset listen --web --vapid-key -BD",
            "cresset listen --google --web --project p-1234 --api-key A --app-id 1:2:web:3",
            "cresset listen --url https://push.example.com --mcs push.example.com:5228 --ca ca.pem",
        ] {
            assert!(parses(good).is_ok(), "{good}");
        }
        for bad in [
            "cresset listen --count 0",
            "cresset listen --count many",
            "cresset listen --web --package com.example.app",
            "cresset listen --vapid-key BD",
            "cresset listen --url https://push.example.com",
            "cresset listen --mcs push.example.com:5228",
            "cresset listen --api-key A",
            "cresset listen --google --url https://push.example.com --mcs push.example.com:5228",
        ] {
            assert_eq!(parses(bad).err(), Some(2), "{bad}");
        }
    }

    /// One token in 64 does, as base64url has a hyphen.
    #[test]
    fn what_is_sent_may_begin_with_a_hyphen() {
        let typed = ["cresset", "send", "--token", "-yroy:APA91b", "--title", "-5 %", "--data", "-k=-v"];
        let Command::Send(send) = Cli::try_parse_from(typed).unwrap().command else { panic!("not a send") };
        assert_eq!(send.target.token.as_deref(), Some("-yroy:APA91b"));
        assert_eq!(send.content.title.as_deref(), Some("-5 %"));
        assert_eq!(send.content.data, [("-k".to_owned(), "-v".to_owned())]);
    }

    #[test]
    fn a_project_leads_nowhere_else() {
        for path in ["../../etc", "demo/x", "demo?", ""] {
            assert!(project_name(path).is_err(), "{path}");
            assert!(Cli::try_parse_from(["cresset", "project", "show", path]).is_err(), "{path}");
        }
        assert!(project_name("demo").is_ok() && project_name("123456789012").is_ok());
    }
}
