//! Builds by the classic builder's API: what Dockerfiles do, what is known the second time, and
//! what is told. The first half runs on dockerd before it runs on us.

mod context;
mod own;

use context::{Build, Context, caches};
use std::io::Write as _;
use std::process::{Command, Stdio};
use testkit::{Engine, Value, json, on_both, unique};

/// What a container of an image prints.
fn run(engine: &Engine, image: &str, script: &str) -> String {
    engine.sh(script, json!({"Image": image, "Entrypoint": []}))
}

/// What a program makes of bytes.
fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program);
    let child = child.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect(program);
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

fn inspect(engine: &Engine, image: &str) -> Value {
    engine.get(&format!("/images/{image}/json")).expect(200).json()
}

/// What the history of an image says of those steps that were not its base's, the oldest first.
fn history(engine: &Engine, image: &str, steps: usize) -> Vec<String> {
    let all = engine.get(&format!("/images/{image}/history")).expect(200).json();
    let all = all.as_array().unwrap().clone();
    let own = all.iter().take(steps).rev();
    own.map(|step| step["CreatedBy"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    fn privileged_builds_do_what_their_dockerfile_says(engine) {
        let context = Context::new()
            .file("Dockerfile", "ARG BASE=busybox\n\
                FROM $BASE AS first\n\
                ARG WHO=world\n\
                ENV GREETING=\"good day\" N=1\n\
                WORKDIR /work/deep\n\
                COPY a.txt dir ./\n\
                RUN echo \"$GREETING, $WHO $N\" > said && chmod 600 said\n\
                FROM busybox\n\
                LABEL one=1 two=\"2 3\"\n\
                COPY --from=first /work/deep /all\n\
                COPY --from=0 --chown=app:bin /work/deep/said /all/owned\n\
                EXPOSE 80 90/udp\n\
                VOLUME /data\n\
                USER app\n\
                STOPSIGNAL SIGINT\n\
                ENTRYPOINT [\"/bin/sh\", \"-c\"]\n\
                CMD [\"cat /all/owned\"]\n")
            .file("a.txt", "a\n")
            .file("dir/b", "b\n")
            .file("dir/sub/c", "c\n");
        let tag = unique("built");
        let built = Build::of(engine, &context).tag(&tag).done();
        let id = built.id();
        assert!(built.text().contains(&format!("Successfully tagged {tag}:latest")), "{}", built.text());
        let config = inspect(engine, &tag)["Config"].clone();
        assert_eq!(config["Labels"], json!({"one": "1", "two": "2 3"}));
        assert_eq!(config["User"], "app");
        assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-c"]));
        assert_eq!(config["Cmd"], json!(["cat /all/owned"]));
        assert_eq!(config["StopSignal"], "SIGINT");
        assert_eq!(config["Volumes"], json!({"/data": {}}));
        assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "90/udp": {}}));
        assert_eq!(inspect(engine, &tag)["Id"], id);
        let script = "cd /all; find . | sort; stat -c '%U:%G %a' owned; id -un; cat a.txt b sub/c";
        assert_eq!(
            run(engine, &tag, script),
            ".\n./a.txt\n./b\n./owned\n./said\n./sub\n./sub/c\napp:bin 600\napp\na\nb\nc\n"
        );
        let steps = history(engine, &tag, 9);
        let nop = |text: &str| format!("/bin/sh -c #(nop)  {text}");
        assert_eq!(steps[0], nop("LABEL one=1 two=2 3"));
        assert!(steps[1].starts_with("/bin/sh -c #(nop) COPY dir:"), "{}", steps[1]);
        assert!(steps[1].ends_with(" in /all "), "{}", steps[1]);
        // dockerd has no blank behind the owner; people want one.
        assert!(steps[2].starts_with("/bin/sh -c #(nop) COPY --chown=app:bin"), "{}", steps[2]);
        assert_eq!(steps[3], nop("EXPOSE 80 90/udp"));
        assert_eq!(steps[4], nop("VOLUME [/data]"));
        assert_eq!(steps[5], nop("USER app"));
        assert_eq!(steps[6], nop("STOPSIGNAL SIGINT"));
        assert_eq!(steps[7], nop("ENTRYPOINT [\"/bin/sh\" \"-c\"]"));
        assert_eq!(steps[8], nop("CMD [\"cat /all/owned\"]"));
    }

    fn privileged_what_is_known_is_not_done_again(engine) {
        let mark = unique("mark");
        let dockerfile = format!(
            "FROM busybox\nLABEL of={mark}\nCOPY f /f\nARG A=1\nRUN cat /f > /g\nARG B\nRUN echo $B > /h\n"
        );
        let context = |text: &str| Context::new().file("Dockerfile", &dockerfile).file("f", text);
        let first = Build::of(engine, &context("one")).done();
        assert_eq!(caches(&first.text()), 0, "{}", first.text());
        let again = Build::of(engine, &context("one").later()).done();
        assert_eq!(caches(&again.text()), 6, "{}", again.text());
        assert_eq!(again.id(), first.id());
        // An argument counts from the first step that sees it.
        let other = Build::of(engine, &context("one")).query("buildargs", r#"{"B":"x"}"#).done();
        assert_eq!(caches(&other.text()), 5, "{}", other.text());
        assert_eq!(run(engine, &other.id(), "cat /g /h"), "onex\n");
        let changed = Build::of(engine, &context("two")).done();
        assert_eq!(caches(&changed.text()), 1, "{}", changed.text());
        let anew = Build::of(engine, &context("one")).query("nocache", "1").done();
        assert_eq!(caches(&anew.text()), 0, "{}", anew.text());
        let tag = unique("source");
        let _ = Build::of(engine, &context("one")).tag(&tag).done();
        let from = Build::of(engine, &context("one")).query("cachefrom", &json!([tag]).to_string());
        assert_eq!(caches(&from.done().text()), 6);
        let none = Build::of(engine, &context("one")).query("cachefrom", r#"["nosuchimage"]"#);
        assert_eq!(caches(&none.done().text()), 0);
    }

    fn privileged_files_go_where_copy_says(engine) {
        let inner = Context::new().file("in/tar", "from a tar\n").bytes();
        let context = Context::new()
            .file("Dockerfile", "FROM busybox\n\
                RUN mkdir -p /real /there && ln -s /real /link && ln -s / /up\n\
                COPY d /plain\n\
                COPY d/x /file\n\
                COPY d/x /slash/\n\
                COPY d/x /there\n\
                COPY d/* /glob/\n\
                COPY d/[xy] d/s? /class/\n\
                COPY d /link\n\
                COPY d/x /up/up/tmp/escaped\n\
                WORKDIR /w\n\
                COPY d/x rel\n\
                COPY [\"d/with space\", \"./\"]\n\
                ADD in.tar /untar/\n\
                COPY in.tar /kept/\n\
                COPY --chown=1:2 d /owned\n")
            .file("d/x", "x\n")
            .file("d/y", "y\n")
            .file("d/sub/z", "z\n")
            .file("d/s1", "1\n")
            .file("d/with space", "s\n")
            .link("d/l", "x")
            .raw("in.tar", &inner);
        let id = Build::of(engine, &context).done().id();
        let script = "cd /; find plain file slash there glob class real tmp/escaped w untar kept \
                      | sort; readlink plain/l; cat untar/in/tar; stat -c '%u:%g' owned/sub/z";
        let expected = "class\nclass/s1\nclass/x\nclass/y\nfile\nglob\nglob/l\nglob/s1\nglob/with space\n\
            glob/x\nglob/y\nglob/z\nkept\nkept/in.tar\nplain\nplain/l\nplain/s1\nplain/sub\nplain/sub/z\n\
            plain/with space\nplain/x\nplain/y\nreal\nreal/l\nreal/s1\nreal/sub\nreal/sub/z\nreal/with space\n\
            real/x\nreal/y\nslash\nslash/x\nthere\nthere/x\ntmp/escaped\nuntar\nuntar/in\nuntar/in/tar\nw\n\
            w/rel\nw/with space\nx\nfrom a tar\n1:2\n";
        assert_eq!(run(engine, &id, script), expected);
    }

    fn privileged_archives_are_unpacked_however_they_are_compressed(engine) {
        let tar = Context::new().file("in/tar", "from a tar\n").bytes();
        let mut context = Context::new();
        let mut text = "FROM busybox\n".to_owned();
        for program in ["gzip", "bzip2", "xz"] {
            context = context.raw(&format!("a.{program}"), &compressed(program, &tar));
            text.push_str(&format!("ADD a.{program} /{program}/\n"));
        }
        text.push_str("ADD text.xz /text/\n");
        let context = context.raw("text.xz", &compressed("xz", b"no tar")).file("Dockerfile", &text);
        let id = Build::of(engine, &context).done().id();
        let script = "cat /gzip/in/tar /bzip2/in/tar /xz/in/tar; ls /text";
        assert_eq!(run(engine, &id, script), "from a tar\nfrom a tar\nfrom a tar\ntext.xz\n");
        let container = engine.create(json!({"Image": id}));
        for program in ["bzip2", "xz"] {
            let path = format!("/containers/{}/archive?path=/tmp", container.id);
            let _ = engine.put(&path, &compressed(program, &tar)).expect(200);
        }
        // A whole context, and an image.
        let whole = Context::new().file("Dockerfile", "FROM busybox\nCOPY f /\n").file("f", "f");
        let whole = compressed("xz", &whole.bytes());
        let built = engine.upload("/build?networkmode=none&q=1", &whole).expect(200).text();
        assert!(built.contains("sha256:"), "{built}");
        let loaded = compressed("xz", &testkit::image::busybox(&["busybox:latest"]).tar);
        let loaded = engine.upload("/images/load?quiet=1", &loaded).expect(200).text();
        assert!(loaded.contains("Loaded image: busybox:latest"), "{loaded}");
    }

    fn privileged_what_is_wrong_is_told_in_dockers_words(engine) {
        let alone = |text: &str| Context::new().file("Dockerfile", text);
        let fails = |text: &str| Build::of(engine, &alone(text)).failed();
        let (code, message) = fails("FROM busybox\nRUN exit 7\n");
        assert_eq!((code, message.as_str()),
            (7, "The command '/bin/sh -c exit 7' returned a non-zero code: 7"));
        let (_, message) = fails("FROM busybox\nCOPY nothing /\n");
        assert!(message.contains("stat nothing: file does not exist"), "{message}");
        let (_, message) = fails("FROM busybox\nCOPY no* /\n");
        assert!(message.contains("no source files were specified"), "{message}");
        let (_, message) = fails("FROM scratch\n");
        assert!(message.contains("No image was generated"), "{message}");
        let unused = Build::of(engine, &alone("FROM busybox\nARG A\nENV X=1\n"))
            .query("buildargs", r#"{"A":"1","OTHER":"2"}"#);
        let said = unused.done().text();
        let warning = "[Warning] One or more build-args [OTHER] were not consumed\nSuccessfully built ";
        assert!(said.contains(warning), "{said}");
        let refused = Build::of(engine, &alone("FROM busybox\nFOO bar\n")).answer();
        assert_eq!(refused.status, 400);
        assert!(refused.message().to_lowercase().contains("unknown instruction: foo"), "{}", refused.message());
        let refused = Build::of(engine, &Context::new().file("x", "y")).answer();
        assert!(refused.status >= 400);
        assert!(refused.message().contains("Cannot locate specified Dockerfile"), "{}", refused.message());
    }

    fn privileged_a_context_may_end_with_its_last_byte(engine) {
        // As docker's command line sends it with `-f -`.
        let context = Context::new().file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "x");
        let _ = Build::of(engine, &context).unpadded().done().id();
    }

    fn privileged_triggers_targets_and_labels_of_the_request(engine) {
        let tag = unique("onbuild");
        let base = Context::new()
            .file("Dockerfile", "FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cat /f > /g\n");
        let built = Build::of(engine, &base).tag(&tag).done();
        assert_eq!(inspect(engine, &built.id())["Config"]["OnBuild"],
            json!(["COPY f /f", "RUN cat /f > /g"]));
        let child = Context::new()
            .file("Dockerfile", &format!("FROM {tag} AS wanted\nENV X=1\nFROM busybox\nRUN exit 1\n"))
            .file("f", "triggered\n");
        let built = Build::of(engine, &child)
            .query("target", "wanted")
            .query("labels", r#"{"l":"a 'quoted' $VALUE"}"#)
            .done();
        let config = inspect(engine, &built.id())["Config"].clone();
        assert_eq!(config["Labels"], json!({"l": "a 'quoted' $VALUE"}));
        assert!(config["OnBuild"].is_null(), "{config}");
        assert_eq!(run(engine, &built.id(), "cat /g"), "triggered\n");
    }

    fn privileged_a_quiet_build_tells_its_image_only(engine) {
        let context = Context::new().file("Dockerfile", "FROM busybox\nENV A=b\nRUN echo loud\n");
        let built = Build::of(engine, &context).query("q", "1").done();
        let id = built.text();
        assert!(id.trim_end().starts_with("sha256:") && id.trim_end().len() == 71, "{id:?}");
        assert_eq!(inspect(engine, id.trim_end())["Id"], id.trim_end());
    }
}
