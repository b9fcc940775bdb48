//! The server is killed in the middle of a fan-out, again and again: nobody may be lost, and no message
//! may come to anybody under two persistent ids. Not a figure, but it needs what the figures need: many
//! registrations, made quickly.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cresset_delivery::{Content, Dispatcher};
use cresset_e2e::{Binary, Outcome, World, now};
use cresset_message::{DeviceId, ProjectNumber, Topic};
use cresset_server::DataFolder;
use cresset_store::Store;
use cresset_store::embedded::{EmbeddedEngine, Options as StoreOptions};
use cresset_wire::token::TokenKey;
use serde_json::json;

use crate::offline::{self, Plan};
use crate::{Cli, Subject};

const TOPIC: &str = "everyone";

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Members of the topic
    #[arg(long, default_value_t = 100_000)]
    registrations: u64,
    /// Times that the server is killed
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The latest moment of a kill, in milliseconds after the send began
    #[arg(long, default_value_t = 60)]
    within: u64,
    /// Drops the first set of each round before it is looked at: the check must then fail
    #[arg(long)]
    sabotage: bool,
}

pub(crate) async fn check(cli: &Cli, options: &Options) -> Outcome<()> {
    let Subject { binary, world, folder } = Subject::start(cli).await?;
    let data = binary.folder.clone();
    let project: ProjectNumber = world.sender_id.parse()?;
    let topic: Topic = TOPIC.parse()?;
    let plan = Plan { project, registrations: options.registrations, topics: vec![topic], sparse: None };
    drop(world);
    tokio::task::spawn_blocking(|| binary.stop()).await??;
    offline::make(&DataFolder::open(&data).map_err(|e| e.to_string())?.store(), &plan).await?;
    let mut checker = Checker { seen: Vec::new(), registrations: options.registrations };
    let (mut cut, mut unanswered) = (0, 0);
    for round in 0..options.rounds {
        let binary = Binary::start(&cli.program()?, &data)?;
        let world = World::of_demo(&binary).await?;
        let http = world.sender().await?;
        let message = json!({ "topic": TOPIC, "data": { "n": round.to_string() } });
        // A moment that differs from round to round, and is the same in each run.
        let moment = Duration::from_micros(options.within * 1_000 * (round as u64 * 7 % 20) / 20);
        let killed = async {
            tokio::time::sleep(moment).await;
            tokio::task::spawn_blocking(|| binary.kill()).await
        };
        let (answer, killed) = tokio::join!(world.send_over(&http, &message), killed);
        killed??;
        let answered = answer.is_ok_and(|answer| answer.status.is_success());
        unanswered += usize::from(!answered);
        drop(world);
        let open = checker.look(&data, project, round, answered, options.sabotage).await?;
        cut += usize::from(open);
    }
    drop(folder);
    println!(
        "kill: {} rounds over {} registrations: {unanswered} sends not answered, {cut} fan-outs cut off in the \
         middle; 0 lost, 0 doubled by persistent id",
        options.rounds, options.registrations
    );
    Ok(())
}

struct Checker {
    /// Of each round: which delivery each registration has of it; `None`: the round left nothing.
    seen: Vec<Option<Vec<u64>>>,
    registrations: u64,
}

impl Checker {
    /// Ends the fan-out in this process and looks at what everybody has. Says whether it was open.
    async fn look(
        &mut self,
        data: &std::path::Path,
        project: ProjectNumber,
        round: usize,
        answered: bool,
        sabotage: bool,
    ) -> Outcome<bool> {
        let folder = DataFolder::open(data).map_err(|e| e.to_string())?;
        let secret = folder.token_secret(&|_: &mut [u8]| {}).map_err(|e| e.to_string())?;
        let store: Store = Arc::new(EmbeddedEngine::open(&folder.store(), StoreOptions::default())?);
        let random: cresset_delivery::Random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let dispatcher = Dispatcher::open(store.clone(), TokenKey::new(&secret), random, now()).await?;
        let open = dispatcher.fanouts_open_of(project) > 0;
        while let Some(turn) = dispatcher.spread(now()).await {
            turn?;
        }
        let mut found: Vec<Vec<Option<u64>>> = vec![vec![None; self.registrations as usize]; round + 1];
        for number in 0..self.registrations {
            let device = DeviceId::new(number + 1).ok_or("no device has that number")?;
            for delivery in dispatcher.pending(device, 1_000, &|_| false, now()).await? {
                let Content::Message(message) = &delivery.content else { return Err("a notice".into()) };
                let n: usize = message.data[0].1.parse()?;
                let place = &mut found[n][number as usize];
                if place.replace(delivery.id.unique).is_some() {
                    return Err(format!("registration {number} has message {n} twice").into());
                }
            }
        }
        if sabotage {
            found[round][0] = None;
        }
        self.judge(found, round, answered)?;
        drop(dispatcher);
        store.close().await?;
        Ok(open)
    }

    fn judge(&mut self, found: Vec<Vec<Option<u64>>>, round: usize, answered: bool) -> Outcome<()> {
        for (n, row) in found.into_iter().enumerate() {
            let have = row.iter().flatten().count() as u64;
            let all: Option<Vec<u64>> = row.into_iter().collect();
            let known = self.seen.get(n);
            let right = match (&all, known) {
                (Some(all), Some(Some(known))) => all == known,
                (Some(_), None) => true,
                (None, Some(None)) => have == 0,
                (None, None) => have == 0 && !(n == round && answered),
                _ => false,
            };
            if !right {
                let all = self.registrations;
                return Err(format!("message {n}: {have} of {all} have it, or under another id").into());
            }
            if known.is_none() {
                self.seen.push(all);
            }
        }
        Ok(())
    }
}
