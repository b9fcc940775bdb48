//! The project's local commands, the same here and in CI.

mod conformance;
mod crash;
mod run;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup        install what the tests need on a bare Debian with Rust: apt, npm and PyPI packages, pinned
  check        formatting, clippy with warnings as errors, tidy
  tidy         the dependency table, the bans and the licences of ARCHITECTURE.md
  test         setup, then all tests: cargo's, a few rounds of crashes, real clients
  conformance  only the real clients: firebase-admin for Node and Python, a push receiver, a browser
               [the files of suites, such as sender.test.mjs or test_batch.py …]
  crash        does the store keep what it acknowledged?  [--rounds N] [--kind kill|power|both] [--no-fsync]
               and the whole server?  --kind server|xmpp|outbound|faults [--rounds N] [--sabotage]
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", &[][..]),
    };
    let well = |()| ExitCode::SUCCESS;
    let done = match command {
        "setup" => setup::run().map(well),
        "check" => check().map(well),
        "tidy" => tidy::run().map(well),
        "test" => test::run(),
        "conformance" => conformance::run(rest).map(test::Counts::verdict),
        "crash" => crash::run(rest).map(well),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(USAGE.trim_end().to_owned()),
    };
    match done {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    run::cargo(&["fmt", "--all", "--check"])?;
    run::cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    tidy::run()
}
