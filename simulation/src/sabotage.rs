//! Faults that are put in on purpose: a checker that does not find them is blind.

use std::fmt;
use std::str::FromStr;

/// What is done wrong. Each is done now and then, not always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A row of an inbox is acknowledged and not written.
    DropRow,
    /// A set of a fan-out is acknowledged and not written.
    DropSet,
    /// A row of an inbox is not deleted when it should be.
    KeepRow,
    /// Two messages change places on their way to the device.
    Swap,
    /// A delivery is given another persistent id than before.
    ChangeId,
    /// A message is given to its device after its time.
    Late,
    /// A message is written twice.
    Twice,
    /// A message is given to an app that it was not sent to.
    Astray,
    /// A message that is to come now or never is kept.
    KeepFleeting,
    /// The courier acknowledges before it sends.
    AckFirst,
    /// The courier forgets who was called out, and its rounds pass the sets by.
    ForgetCall,
    /// The courier goes on with the next when a push service says later.
    PassBy,
    /// The courier tells nobody that a push service says gone.
    NotGone,
}

impl Sabotage {
    pub const ALL: [Self; 13] = [
        Self::DropRow,
        Self::DropSet,
        Self::KeepRow,
        Self::Swap,
        Self::ChangeId,
        Self::Late,
        Self::Twice,
        Self::Astray,
        Self::KeepFleeting,
        Self::AckFirst,
        Self::ForgetCall,
        Self::PassBy,
        Self::NotGone,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::DropRow => "drop-row",
            Self::DropSet => "drop-set",
            Self::KeepRow => "keep-row",
            Self::Swap => "swap",
            Self::ChangeId => "change-id",
            Self::Late => "late",
            Self::Twice => "twice",
            Self::Astray => "astray",
            Self::KeepFleeting => "keep-fleeting",
            Self::AckFirst => "ack-first",
            Self::ForgetCall => "forget-call",
            Self::PassBy => "pass-by",
            Self::NotGone => "not-gone",
        }
    }

    /// Whether only a world with push services shows it.
    pub const fn is_outside(self) -> bool {
        matches!(self, Self::AckFirst | Self::ForgetCall | Self::PassBy | Self::NotGone)
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("no such sabotage; there are {}", names()))
    }
}
