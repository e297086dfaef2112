use crate::proxy::Network;
use crate::wire::{Origin, lookup};

/// The registries whose certificates are not checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Insecure {
    names: Vec<String>,
    networks: Vec<Network>,
}

impl Insecure {
    /// Reads a configuration: `host`, `host:port` and networks, with or without a scheme.
    pub(crate) fn new(entries: &[String]) -> Self {
        let mut read = Self::default();
        for entry in entries {
            let entry = entry.split_once("://").map_or(entry.as_str(), |(_, rest)| rest);
            match Network::parse(entry) {
                Some(network) => read.networks.push(network),
                None => read.names.push(entry.trim_end_matches('/').to_ascii_lowercase()),
            }
        }
        read
    }

    /// Whether this is one of them. A name is one if an address of it is in one of the networks.
    pub(crate) async fn names(&self, origin: &Origin) -> bool {
        if self.names_surely(origin) {
            return true;
        }
        if self.networks.is_empty() || origin.address().is_some() {
            return false;
        }
        let addresses = lookup(origin).await.unwrap_or_default();
        addresses.iter().any(|address| self.networks.iter().any(|n| n.contains(address.ip())))
    }

    /// The same without asking for the addresses of names.
    pub(crate) fn names_surely(&self, origin: &Origin) -> bool {
        let with_port = format!("{}:{}", origin.written_host(), origin.port);
        origin.is_loopback()
            || self.names.iter().any(|name| *name == origin.authority() || *name == with_port)
            || origin
                .address()
                .is_some_and(|address| self.networks.iter().any(|n| n.contains(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_networks() {
        let insecure = Insecure::new(&[
            "r.example:5000".to_owned(),
            "http://Plain.example/".to_owned(),
            "10.1.0.0/16".to_owned(),
        ]);
        let names = |authority: &str| {
            insecure.names_surely(&Origin::parse(true, authority).expect(authority))
        };
        for yes in ["r.example:5000", "plain.example", "10.1.2.3:99", "127.0.0.1:5", "localhost"] {
            assert!(names(yes), "{yes}");
        }
        assert!(names("[::1]:5000"));
        for no in
            ["r.example", "r.example:5001", "plain.example:5000", "10.2.0.1", "x.r.example:5000"]
        {
            assert!(!names(no), "{no}");
        }
    }
}
