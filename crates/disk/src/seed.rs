//! The image that tells a new machine who it is: an ISO 9660 file system with the label `cidata`, as
//! cloud-init's data source NoCloud looks for it, with `meta-data`, `user-data` and `network-config`.
//! (cloud-init documentation, *NoCloud*; ECMA-119 for the file system, and Joliet for names in
//! small letters: systems without it see them in capitals, and Linux makes them small again.)

use std::fmt::Write as _;
use std::net::IpAddr;

/// Bytes of a sector.
const SECTOR: usize = 2048;
/// What cloud-init looks for.
const LABEL: &str = "cidata";

/// What a machine is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// Differs between machines: what is to be done once is done once for each.
    pub instance: String,
    /// Its name.
    pub hostname: String,
    /// Public keys that may log in.
    pub ssh_keys: Vec<String>,
    /// What cloud-init is to do, as the user wrote it; empty: nothing.
    pub user_data: String,
    /// Its cards.
    pub cards: Vec<Card>,
}

/// A network card, and its place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// What the guest calls it.
    pub name: String,
    /// Its link-layer address, as `02:42:ac:11:00:02`.
    pub mac: String,
    /// Bytes that a packet may have, if that is known.
    pub mtu: Option<u32>,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where default routes lead.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
}

impl Seed {
    /// The image.
    pub fn image(&self) -> Vec<u8> {
        let user_data =
            if self.user_data.is_empty() { "#cloud-config\n{}\n" } else { &self.user_data };
        let meta_data = self.meta_data();
        let network = self.network_config();
        image(&[
            ("meta-data", meta_data.as_bytes()),
            ("network-config", network.as_bytes()),
            ("user-data", user_data.as_bytes()),
        ])
    }

    fn meta_data(&self) -> String {
        let mut text = format!(
            "instance-id: {}\nlocal-hostname: {}\n",
            quote(&self.instance),
            quote(&self.hostname)
        );
        if !self.ssh_keys.is_empty() {
            text.push_str("public-keys:\n");
        }
        for key in &self.ssh_keys {
            let _ = writeln!(text, "  - {}", quote(key));
        }
        text
    }

    /// Version 2, which every system that cloud-init knows can be told.
    fn network_config(&self) -> String {
        let mut text = "version: 2\n".to_owned();
        if !self.cards.is_empty() {
            text.push_str("ethernets:\n");
        }
        for card in &self.cards {
            let (name, mac) = (quote(&card.name), quote(&card.mac));
            let _ =
                writeln!(text, "  {name}:\n    match: {{macaddress: {mac}}}\n    set-name: {name}");
            if let Some(mtu) = card.mtu {
                let _ = writeln!(text, "    mtu: {mtu}");
            }
            text.push_str("    dhcp4: false\n    dhcp6: false\n");
            list(
                &mut text,
                "    addresses",
                card.addresses.iter().map(|(addr, prefix)| quote(&format!("{addr}/{prefix}"))),
            );
            list(
                &mut text,
                "    routes",
                card.gateways.iter().map(|gateway| {
                    let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                    format!("{{to: \"{all}\", via: \"{gateway}\"}}")
                }),
            );
            if !card.servers.is_empty() {
                text.push_str("    nameservers:\n");
                list(
                    &mut text,
                    "      addresses",
                    card.servers.iter().map(|server| format!("\"{server}\"")),
                );
                list(&mut text, "      search", card.search.iter().map(|domain| quote(domain)));
            }
        }
        text
    }
}

/// A list on one line, if there is anything in it.
fn list(text: &mut String, key: &str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    if !items.is_empty() {
        let _ = writeln!(text, "{key}: [{}]", items.join(", "));
    }
}

/// Text as YAML has it in double quotes, which are those of JSON.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where things are, in sectors: after the unused beginning the three descriptors, then for either
/// tree both tables of paths and the only directory, then the files.
const FIRST_DESCRIPTOR: usize = 16;
const FIRST_TREE: usize = FIRST_DESCRIPTOR + 3;
const TREE: usize = 3;
const FIRST_FILE: usize = FIRST_TREE + 2 * TREE;

/// An ISO 9660 image whose only directory has these files. Their directory must fit into a sector.
fn image(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut places = Vec::new();
    let mut next = FIRST_FILE;
    for (_, content) in files {
        places.push((next, content.len()));
        next += content.len().div_ceil(SECTOR).max(1);
    }
    let mut image = vec![0; next * SECTOR];
    for (joliet, tree) in [(false, FIRST_TREE), (true, FIRST_TREE + TREE)] {
        let names =
            files.iter().zip(&places).map(|((name, _), place)| (file_name(name, joliet), *place));
        let directory = directory(tree + 2, names);
        put(&mut image, FIRST_DESCRIPTOR + usize::from(joliet), &descriptor(joliet, tree, next));
        put(&mut image, tree, &path_table(tree + 2, u32::to_le_bytes, u16::to_le_bytes));
        put(&mut image, tree + 1, &path_table(tree + 2, u32::to_be_bytes, u16::to_be_bytes));
        put(&mut image, tree + 2, &directory);
    }
    put(&mut image, FIRST_DESCRIPTOR + 2, b"\xffCD001\x01");
    for ((_, content), (place, _)) in files.iter().zip(places) {
        put(&mut image, place, content);
    }
    image
}

fn put(image: &mut [u8], sector: usize, bytes: &[u8]) {
    image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
}

/// A file's name as a tree has it: Joliet's are big-endian UTF-16.
fn file_name(name: &str, joliet: bool) -> Vec<u8> {
    if joliet {
        return name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    }
    format!("{}.;1", name.to_ascii_uppercase()).into_bytes()
}

/// A number in both orders of bytes.
fn both(number: usize) -> [u8; 8] {
    let number = number as u32;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A directory's entry for what is at a place of so many bytes.
fn entry(name: &[u8], place: usize, length: usize, is_directory: bool) -> Vec<u8> {
    let mut entry = vec![0; 33];
    entry[2..10].copy_from_slice(&both(place));
    entry[10..18].copy_from_slice(&both(length));
    entry[25] = if is_directory { 2 } else { 0 };
    // The volume it is on: the first and only.
    entry[28..32].copy_from_slice(&[1, 0, 0, 1]);
    entry[32] = name.len() as u8;
    entry.extend_from_slice(name);
    if entry.len() % 2 == 1 {
        entry.push(0);
    }
    entry[0] = entry.len() as u8;
    entry
}

/// The directory at a sector: itself, its parent (which it is as well), then the files.
fn directory(sector: usize, files: impl Iterator<Item = (Vec<u8>, (usize, usize))>) -> Vec<u8> {
    let mut bytes = entry(&[0], sector, SECTOR, true);
    bytes.extend(entry(&[1], sector, SECTOR, true));
    for (name, (place, length)) in files {
        bytes.extend(entry(&name, place, length, false));
    }
    bytes
}

/// The only path there is: that of the root.
fn path_table(root: usize, long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    [&[1, 0][..], &long(root as u32), &short(1), &[0, 0]].concat()
}

/// The descriptor of a tree.
fn descriptor(joliet: bool, tree: usize, sectors: usize) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    bytes[0] = if joliet { 2 } else { 1 };
    bytes[1..7].copy_from_slice(b"CD001\x01");
    let text = |text: &str, room: usize| -> Vec<u8> {
        let mut unit: Vec<u8> = if joliet {
            text.encode_utf16().flat_map(u16::to_be_bytes).collect()
        } else {
            text.as_bytes().to_vec()
        };
        let blank: &[u8] = if joliet { &[0, b' '] } else { b" " };
        while unit.len() + blank.len() <= room {
            unit.extend_from_slice(blank);
        }
        unit
    };
    // The system, the volume, and all that can be said of its makers.
    for (at, room, value) in [(8, 32, ""), (40, 32, LABEL), (190, 623, "")] {
        let value = text(value, room);
        bytes[at..at + value.len()].copy_from_slice(&value);
    }
    bytes[80..88].copy_from_slice(&both(sectors));
    if joliet {
        // UCS-2, level 3.
        bytes[88..91].copy_from_slice(b"%/E");
    }
    bytes[120..124].copy_from_slice(&[1, 0, 0, 1]);
    bytes[124..128].copy_from_slice(&[1, 0, 0, 1]);
    let size = SECTOR as u16;
    bytes[128..130].copy_from_slice(&size.to_le_bytes());
    bytes[130..132].copy_from_slice(&size.to_be_bytes());
    // Bytes of a table of paths.
    bytes[132..140].copy_from_slice(&both(10));
    bytes[140..144].copy_from_slice(&(tree as u32).to_le_bytes());
    bytes[148..152].copy_from_slice(&(tree as u32 + 1).to_be_bytes());
    let root = entry(&[0], tree + 2, SECTOR, true);
    bytes[156..156 + root.len()].copy_from_slice(&root);
    // Dates that nobody knows are zeros in digits.
    for at in [813, 830, 847, 864] {
        bytes[at..at + 16].fill(b'0');
    }
    bytes[881] = 1;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed {
            instance: "0123".into(),
            hostname: "web".into(),
            ssh_keys: vec!["ssh-ed25519 AAAA \"me\"".into()],
            user_data: "#cloud-config\npackages: [nginx]\n".into(),
            cards: vec![Card {
                name: "eth0".into(),
                mac: "02:42:ac:11:00:02".into(),
                mtu: Some(1400),
                addresses: vec![
                    ("172.17.0.2".parse().expect("address"), 16),
                    ("fd00::2".parse().expect("address"), 64),
                ],
                gateways: vec![
                    "172.17.0.1".parse().expect("address"),
                    "fd00::1".parse().expect("address"),
                ],
                servers: vec!["192.0.2.53".parse().expect("address")],
                search: vec!["example.org".into()],
            }],
        }
    }

    #[test]
    fn a_machine_is_told_its_name_keys_and_network() {
        assert_eq!(
            seed().meta_data(),
            "instance-id: \"0123\"\nlocal-hostname: \"web\"\npublic-keys:\n  - \"ssh-ed25519 AAAA \\\"me\\\"\"\n"
        );
        let expected = "version: 2\nethernets:\n  \"eth0\":\n    match: {macaddress: \"02:42:ac:11:00:02\"}\n    set-name: \"eth0\"\n    mtu: 1400\n    dhcp4: false\n    dhcp6: false\n    addresses: [\"172.17.0.2/16\", \"fd00::2/64\"]\n    routes: [{to: \"0.0.0.0/0\", via: \"172.17.0.1\"}, {to: \"::/0\", via: \"fd00::1\"}]\n    nameservers:\n      addresses: [\"192.0.2.53\"]\n      search: [\"example.org\"]\n";
        assert_eq!(seed().network_config(), expected);
        assert_eq!(Seed::default().network_config(), "version: 2\n");
    }

    /// What a reader finds in a tree of the image: its label, and files by name.
    fn read(image: &[u8], joliet: bool) -> (String, Vec<(String, Vec<u8>)>) {
        let text = |bytes: &[u8]| -> String {
            if !joliet {
                return String::from_utf8_lossy(bytes).into_owned();
            }
            let pairs = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(pairs).map(|c| c.expect("UTF-16")).collect()
        };
        let number = |bytes: &[u8]| {
            let little = u32::from_le_bytes(bytes[..4].try_into().expect("four"));
            assert_eq!(little, u32::from_be_bytes(bytes[4..8].try_into().expect("four")));
            little as usize
        };
        let sector = |n: usize| &image[n * SECTOR..(n + 1) * SECTOR];
        let descriptor = sector(16 + usize::from(joliet));
        assert_eq!(&descriptor[1..6], b"CD001");
        assert_eq!(number(&descriptor[80..]), image.len() / SECTOR);
        let root = &descriptor[156..];
        assert_eq!(number(&root[10..]), SECTOR);
        let (directory, mut at, mut files) = (sector(number(&root[2..])), 0, Vec::new());
        while directory[at] != 0 {
            let entry = &directory[at..at + usize::from(directory[at])];
            let (place, length) = (number(&entry[2..]), number(&entry[10..]));
            if entry[25] & 2 == 0 {
                let name = text(&entry[33..33 + usize::from(entry[32])]);
                files.push((name, image[place * SECTOR..][..length].to_vec()));
            }
            at += entry.len();
        }
        (text(&descriptor[40..72]).trim().to_owned(), files)
    }

    #[test]
    fn the_image_has_the_label_and_the_files_in_both_trees() {
        let mut seed = seed();
        seed.user_data = "x".repeat(5000);
        let image = seed.image();
        assert_eq!(image.len() % SECTOR, 0);
        assert_eq!(sector_type(&image, 18), 255);
        let names = ["meta-data", "network-config", "user-data"];
        for joliet in [true, false] {
            let (label, files) = read(&image, joliet);
            assert_eq!(label, "cidata");
            for (name, (found, _)) in names.iter().zip(&files) {
                let plain = found.to_lowercase();
                assert_eq!(plain.trim_end_matches(".;1"), *name);
                assert_eq!(joliet, found == name, "{found}");
            }
            assert_eq!(files[2].1, seed.user_data.as_bytes());
            assert_eq!(files[0].1, seed.meta_data().as_bytes());
        }
        assert!(String::from_utf8_lossy(&Seed::default().image()).contains("#cloud-config\n{}"));
    }

    fn sector_type(image: &[u8], sector: usize) -> u8 {
        image[sector * SECTOR]
    }
}
