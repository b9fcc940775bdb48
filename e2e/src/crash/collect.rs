//! After the restart: every device connects, and takes what waits for it.

use std::time::Duration;

use cresset_device_client::{Acks, ConnectOptions, Error};
use cresset_e2e::{Device, Http2, Outcome, World};
use futures_util::future::try_join_all;
use tokio::time::timeout;

use crate::journal::{Arrival, Journal};
use crate::load::send;

/// For one device to be handed everything. Thousands of messages take a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// After the last message: what comes now came out of order, and is to be seen as that, not as lost.
const AFTERWARDS: Duration = Duration::from_millis(100);

pub(crate) async fn collect(world: &World, journal: &Journal, devices: &[Device]) -> Outcome<()> {
    let http = world.sender().await?;
    let all = devices.iter().enumerate();
    try_join_all(all.map(|(at, device)| collect_one(world, &http, journal, at, device))).await.map(drop)
}

/// A last message is sent to the device: when it comes, order says that nothing else waits.
async fn collect_one(
    world: &World,
    http: &Http2,
    journal: &Journal,
    at: usize,
    device: &Device,
) -> Outcome<()> {
    let last = journal.sending(at);
    let access = world.authorization();
    let heard = send(world, &access, http, &device.token, last)
        .await
        .ok_or("the restarted server does not answer")?;
    heard.note(journal, last)?;
    let options = ConnectOptions { acks: Acks::Automatic, ..ConnectOptions::default() };
    let mut connection = match world.devices.connect(&device.credentials, options).await {
        Ok(connection) => connection,
        Err(Error::LoginRefused { .. }) => {
            journal.forgotten();
            return Ok(());
        }
        Err(e) => return Err(e.into()),
    };
    let mut patience = PATIENCE;
    // Silence and the end of the connection are the same here: the checker sees what is missing.
    while let Ok(Ok(Some(message))) = timeout(patience, connection.next()).await {
        let arrival = Arrival::of(&message);
        if arrival.number == Some(last) {
            patience = AFTERWARDS;
        }
        journal.arrived(at, arrival);
    }
    Ok(())
}
