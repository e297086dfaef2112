//! Names for containers that were given none, and fresh ids.

use types::{ContainerId, Error};

const MOODS: [&str; 48] = [
    "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clever", "cosy",
    "curious", "daring", "deft", "eager", "earnest", "fleet", "frank", "gentle", "glad", "happy",
    "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucid", "mellow", "merry",
    "mild", "neat", "nimble", "patient", "placid", "plucky", "prompt", "proud", "quiet", "serene",
    "sleek", "snug", "steady", "sturdy", "sunny", "tidy", "witty", "zesty",
];

const ANIMALS: [&str; 48] = [
    "abalone",
    "anchovy",
    "anemone",
    "barnacle",
    "barracuda",
    "beluga",
    "bream",
    "brill",
    "capelin",
    "clam",
    "cockle",
    "conch",
    "copepod",
    "coral",
    "cowrie",
    "crab",
    "cuttlefish",
    "dolphin",
    "dugong",
    "gurnard",
    "halibut",
    "herring",
    "isopod",
    "krill",
    "lamprey",
    "limpet",
    "lobster",
    "mackerel",
    "manatee",
    "marlin",
    "mussel",
    "narwhal",
    "nautilus",
    "octopus",
    "oyster",
    "pilchard",
    "pollock",
    "porpoise",
    "prawn",
    "puffin",
    "scallop",
    "seal",
    "shrimp",
    "starfish",
    "turbot",
    "urchin",
    "whelk",
    "whiting",
];

/// Random bytes from the kernel.
///
/// # Errors
/// Only where getrandom(2) is missing (before Linux 3.17) or forbidden.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    // A request of at most 256 bytes is never cut short (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::system(format!("the kernel gives no random numbers: {error}")))?;
    Ok(bytes)
}

/// A fresh id.
pub(crate) fn id() -> Result<ContainerId, Error> {
    loop {
        if let Some(id) = ContainerId::from_random(random()?) {
            return Ok(id);
        }
    }
}

/// A name to try; `attempt` numbers from 0 make a clash less and less likely.
pub(crate) fn name(attempt: u32) -> Result<String, Error> {
    let [mood, animal, digits @ ..] = random::<4>()?;
    let mood = MOODS[usize::from(mood) % MOODS.len()];
    let animal = ANIMALS[usize::from(animal) % ANIMALS.len()];
    Ok(match attempt {
        0..=2 => format!("{mood}_{animal}"),
        _ => format!("{mood}_{animal}{}", u16::from_le_bytes(digits) % 1000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_are_valid_names() {
        for attempt in 0..20 {
            let name = name(attempt).expect("random numbers");
            assert!(types::name::is_valid(&name), "{name}");
        }
        assert_ne!(id().expect("random"), id().expect("random"));
    }
}
