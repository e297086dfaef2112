//! HTTP as Docker speaks it: versions in paths, Go's way with query parameters and JSON bodies,
//! errors, streams.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod call;
pub mod params;
pub(crate) mod platform;
pub(crate) mod time;
pub(crate) mod upload;
pub mod version;

use docker_api::container::CreateBody;

/// Reads the body of `POST /containers/create`, as the daemon does; here for fuzzing.
///
/// # Errors
/// What the client would be told.
pub fn read_create_body(bytes: &[u8]) -> Result<Option<CreateBody>, String> {
    body::parse(bytes).map_err(|refusal| refusal.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_create_body_is_all_or_nothing() {
        let body = br#"{"Image":"x","HostConfig":{"Memory":5},"NetworkingConfig":null}"#;
        let body = read_create_body(body).expect("valid").expect("not null");
        assert_eq!(body.host_config.resources.memory, 5);
        assert_eq!(read_create_body(b"null"), Ok(None));
        for wrong in [
            r#"{"HostConfig":{"Memory":"5"}}"#,
            r#"{"Tty":1}"#,
            r#"{"Env":{"A":"b"}}"#,
            r#"{"HostConfig":{"PortBindings":{"80/tcp":{}}}}"#,
            r#"{"NetworkingConfig":{"EndpointsConfig":[]}}"#,
            "[]",
            "{}}",
            "",
        ] {
            assert!(read_create_body(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let policy = br#"{"HostConfig":{"RestartPolicy":{"Name":"sometimes"}}}"#;
        let message = read_create_body(policy).expect_err("refused");
        assert!(
            message.starts_with("invalid restart policy: unknown policy 'sometimes'"),
            "{message}"
        );
        assert!(!message.contains("line"), "{message}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(read_create_body(&garbage));
        }
    }
}
