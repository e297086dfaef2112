use super::*;

fn changed(lines: &[&str]) -> ContainerConfig {
    let mut config = ContainerConfig {
        env: vec!["PATH=/bin".to_owned(), "EMPTY=".to_owned()],
        working_dir: "/srv".to_owned(),
        cmd: Some(vec!["old".to_owned()].into()),
        ..ContainerConfig::default()
    };
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    apply_all(&mut config, &lines).expect("valid");
    config
}

fn error(line: &str) -> String {
    let mut config = ContainerConfig::default();
    apply_all(&mut config, &[line.to_owned()]).expect_err(line).to_string()
}

fn words(words: &[&str]) -> Option<types::Words> {
    Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().into())
}

#[test]
fn commands_are_words_or_a_line_for_the_shell() {
    let config = changed(&[r#"CMD ["a", "b c"]"#, "ENTRYPOINT exec top -b"]);
    assert_eq!(config.cmd, words(&["a", "b c"]));
    assert_eq!(config.entrypoint, words(&["/bin/sh", "-c", "exec top -b"]));
    assert_eq!(changed(&["ENTRYPOINT [\"x\"]"]).cmd, None, "the inherited command goes");
    assert_eq!(changed(&["CMD []"]).cmd, words(&[]));
}

#[test]
fn variables_quotes_and_escapes_are_worked_out() {
    let config = changed(&[
        r#"ENV A=1 B="two words" C='$PATH' D=$PATH:/usr E=${NOPE:-x}${EMPTY:-y}${EMPTY-z} F=a\ b"#,
        "ENV PATH /sbin:$PATH and more",
        "LABEL who=\"$A me\"",
    ]);
    assert_eq!(
        config.env,
        [
            "PATH=/sbin:/bin and more",
            "EMPTY=",
            "A=1",
            "B=two words",
            "C=$PATH",
            "D=/bin:/usr",
            "E=xy",
            "F=a b"
        ]
    );
    assert_eq!(config.labels["who"], "1 me");
}

#[test]
fn every_other_instruction_changes_its_field() {
    let config = changed(&[
        "expose 80 53/udp 9000-9002",
        "USER app:app",
        "VOLUME /data /logs",
        r#"VOLUME ["/with space"]"#,
        "WORKDIR sub/../dir",
        "STOPSIGNAL SIGQUIT",
        "ONBUILD RUN make",
        "HEALTHCHECK --interval=5s --retries=3 CMD curl -f localhost",
        "# a comment",
        "",
    ]);
    let ports: Vec<&str> = config.exposed_ports.keys().map(String::as_str).collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "9000/tcp", "9001/tcp", "9002/tcp"]);
    assert_eq!(config.user, "app:app");
    let volumes: Vec<String> = config.volumes.keys().cloned().collect();
    assert_eq!(volumes, ["/data", "/logs", "/with space"]);
    assert_eq!(config.working_dir, "/srv/dir");
    assert_eq!(config.stop_signal, "SIGQUIT");
    assert_eq!(config.on_build, ["RUN make"]);
    let health = config.healthcheck.expect("health");
    assert_eq!(health.test, ["CMD-SHELL", "curl -f localhost"]);
    assert_eq!((health.interval, health.retries), (5_000_000_000, 3));
}

#[test]
fn nonsense_is_refused_in_dockers_words() {
    assert_eq!(error("FROM x"), "FROM is not a valid change command");
    assert_eq!(error("NOPE x"), "NOPE is not a valid change command");
    assert_eq!(error("ENV"), "ENV must have two arguments");
    assert_eq!(error("ENV x"), "ENV must have two arguments");
    assert_eq!(
        error("ENV a=b c"),
        "Syntax error - can't find = in \"c\". Must be of the form: name=value"
    );
    assert_eq!(error("EXPOSE http"), "invalid containerPort: http");
    assert_eq!(error("EXPOSE 1/x"), "invalid proto: x");
    assert_eq!(
        error("ONBUILD ONBUILD RUN x"),
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"
    );
    assert_eq!(error("STOPSIGNAL SIGNOPE"), "invalid signal: SIGNOPE");
    assert_eq!(error("HEALTHCHECK CMD"), "Missing command after HEALTHCHECK CMD");
    assert!(error("ENV a=\"b").contains("looking for matching \""));
    assert!(error("ENV a=${b").contains("looking for matching }"));
}

#[test]
fn a_container_inherits_what_it_leaves_open() {
    let image = changed(&["CMD [\"run\"]", "ENV A=1", "EXPOSE 80", "USER u", "STOPSIGNAL 9"]);
    let mut config = ContainerConfig {
        env: vec!["A=2".to_owned()],
        user: "me".to_owned(),
        ..ContainerConfig::default()
    };
    merge(&mut config, &image);
    assert_eq!(config.env, ["A=2", "PATH=/bin", "EMPTY="]);
    assert_eq!(config.user, "me");
    assert_eq!(config.cmd, words(&["run"]));
    assert_eq!(config.stop_signal, "9");
    assert!(config.exposed_ports.contains_key("80/tcp"));

    // An entrypoint of its own means that the image's command does not fit any more.
    let mut config = ContainerConfig { entrypoint: words(&["mine"]), ..ContainerConfig::default() };
    merge(&mut config, &image);
    assert_eq!(config.cmd, None);
}
