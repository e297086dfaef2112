//! Every reader of what strangers send, as a function that takes bytes and panics when a promise is
//! broken: for the fuzzers in `fuzz_targets/`, which `scripts/fuzz` builds and runs, and for the
//! tests below, which run each on its seeds and on damaged copies of them.
//!
//! Never a dependency of anything. It knows what must hold whatever the bytes are; what a reader
//! makes of good bytes is said by the tests of its own crate.

pub mod build;
pub mod disk;
pub mod distribution;
pub mod guest;
pub mod image;
pub mod names;
pub mod registry;
pub mod requests;

/// A reader, and what to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What the fuzzer and its corpus are called.
    pub name: &'static str,
    /// Reads bytes; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Bytes that it takes, and some that it refuses for one reason only.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Lists `module::function`, with its seeds in `module::seeds::function`, and tests each.
macro_rules! targets {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// All there are.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $module::$name,
            seeds: $module::seeds::$name,
        }),*];

        #[cfg(test)]
        mod tests {
            $(#[test]
            fn $name() {
                super::rehearsal::rehearse(stringify!($name));
            })*
        }
    };
}

targets! {
    build::dockerfile,
    build::dockerignore,
    disk::disk_head,
    distribution::challenge,
    distribution::manifest,
    distribution::reference,
    guest::guest_frame,
    image::image_archive,
    image::image_config,
    image::instruction,
    image::layer,
    image::upload,
    names::name_query,
    registry::registry_manifest,
    registry::registry_request,
    requests::create_body,
    requests::http_head,
    requests::log,
    requests::query,
    requests::websocket,
}

/// Seeds given as text.
fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod rehearsal {
    use super::TARGETS;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// So many damaged copies of each seed.
    const COPIES: usize = 24;

    /// Runs a target on its seeds, each whole and damaged: cut short, with bytes changed, with a
    /// piece twice. The damage is the same on every run.
    pub(super) fn rehearse(name: &str) {
        let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
        let seeds = (target.seeds)();
        assert!(seeds.len() > 1, "{name} has too few seeds");
        (target.run)(b"");
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        for seed in &seeds {
            (target.run)(seed);
            for copy in 0..COPIES {
                let mut bytes = seed.clone();
                match copy % 3 {
                    0 => bytes.truncate(chance.below(seed.len())),
                    1 => {
                        for _ in 0..=chance.below(4) {
                            let at = chance.below(bytes.len());
                            bytes[at] = chance.next().to_le_bytes()[0];
                        }
                    }
                    _ => {
                        let from = chance.below(bytes.len());
                        let piece = bytes[from..].to_vec();
                        let at = chance.below(bytes.len());
                        bytes.splice(at..at, piece);
                    }
                }
                (target.run)(&bytes);
            }
        }
    }

    /// Xorshift: enough to spread damage.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, limit: usize) -> usize {
            usize::try_from(self.next() % limit.max(1) as u64).expect("less than a usize")
        }
    }

    #[test]
    fn each_has_a_fuzzer() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("fuzz_targets")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        let manifest = include_str!("../Cargo.toml");
        let mut expected = BTreeSet::new();
        for target in TARGETS {
            let (name, file) = (target.name, format!("{}.rs", target.name));
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{file}\"")), "{name}");
            expected.insert(file);
        }
        assert_eq!(files, expected);
    }
}
