//! What happened to one delivery, for whoever has to find out why.

use std::fmt::Write as _;

use super::Violation;
use crate::journal::Brought;
use crate::model::Answer;
use crate::world::World;

pub(crate) fn story(world: &World, violation: &Violation) -> String {
    let mut told = format!("{}: {}\n", violation.broken, violation.what);
    let Some(number) = violation.message else { return told };
    if let Some(sent) = world.sent.get(number) {
        let _ = writeln!(told, "  at {:>15} message {number} is sent to {:?}", sent.begun, sent.to);
        let _ = writeln!(told, "     {:>15} for Android {:?}, for the web {:?}", "", sent.android, sent.web);
        let answer = match &sent.answer {
            Answer::Accepted(id) => format!("accepted as {id}"),
            other => format!("{other:?}"),
        };
        let _ = writeln!(told, "  at {:>15} {answer}", sent.answered);
        let _ = writeln!(told, "     {:>15} spread {:?}", "", sent.spread);
    }
    for receipt in world.journal.receipts() {
        let is_it = receipt.brought == Brought::Message(number);
        if is_it && violation.app.is_none_or(|app| receipt.app == Some(app)) {
            let _ = writeln!(
                told,
                "  at {:>15} received on phone {} by connection {} as {}",
                receipt.at, receipt.phone, receipt.connection, receipt.id
            );
            let device = world.device(receipt.phone);
            for taken in world.journal.takens() {
                if Some(taken.device) == device && taken.id == receipt.id {
                    let _ = writeln!(
                        told,
                        "  at {:>15} acknowledged in life {}, saved {:?}",
                        taken.at, taken.life, taken.saved
                    );
                }
            }
        }
    }
    let _ = writeln!(told, "  the server was killed at {:?}", world.ends);
    told
}
