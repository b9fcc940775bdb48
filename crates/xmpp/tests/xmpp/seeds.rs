//! Every stanza that FCM's own guides show, sent as it stands there. The stanzas are data, in
//! `crates/api/tests/seeds/xmpp.json`, whose README says how they were taken.

use cresset_wire::xmpp::namespace;
use cresset_xmpp::session::{Action, Event, Sent};
use serde_json::{Value, json};

use crate::session::Play;

const SEEDS: &str = include_str!("../../../api/tests/seeds/xmpp.json");

#[test]
fn every_stanza_of_the_guides_is_answered_as_they_say() {
    let seeds: Vec<Value> = serde_json::from_str(SEEDS).unwrap();
    for seed in &seeds {
        let lines: Vec<&str> =
            seed["body"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert_eq!(answer(&lines.join("\n")), seed["answer"], "{}", seed["name"]);
    }
    assert_eq!(seeds.len(), 8);
}

/// What a stanza is answered, if all that it asks for can be done.
fn answer(stanza: &str) -> Value {
    let mut play = Play::live();
    for action in play.says(stanza) {
        let Action::Send(number, _) = action else { panic!("{action:?}") };
        play.happens(Event::Answered(number, Ok(Sent::Group { success: 2, failed: Vec::new() })));
    }
    let stanzas = play.stanzas();
    let [stanza] = &stanzas[..] else { panic!("{stanzas:?}") };
    if let Some(error) = stanza.child("error", namespace::CLIENT) {
        return json!({ "stanza_error": error.attribute("code"), "text": error.child("text", namespace::STANZAS).unwrap().text });
    }
    serde_json::from_str(&stanza.children[0].text).unwrap()
}
