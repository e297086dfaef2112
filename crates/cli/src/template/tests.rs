use super::printf::general;
use super::*;
use proptest::prelude::*;

fn render(template: &str, json: &str) -> Result<String, Error> {
    let value = Value::from_json(json.as_bytes()).expect("JSON");
    parse(template)?.execute(&value, None, Mode::Values)
}

const INSPECT: &str = r#"{"Id":"abc","State":{"Running":true,"Pid":42,"ExitCode":0},
    "Config":{"Env":["A=1","B=2"],"Labels":{"z":"1","a":"2"},"Entrypoint":null},
    "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"90/udp":null},
    "Networks":{"bridge":{"IPAddress":"172.17.0.2"}}},"SizeRw":1000000,"F":1.5}"#;

#[test]
fn templates_give_what_go_gives() {
    for (template, want) in [
        ("{{.Id}}", "abc"),
        ("{{.State.Running}} {{ .State.Pid }}", "true 42"),
        ("{{.SizeRw}} {{.F}}", "1000000 1.5"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[a:2 z:1]"),
        ("{{json .Config.Labels}}", r#"{"z":"1","a":"2"}"#),
        ("{{json .State}}", r#"{"Running":true,"Pid":42,"ExitCode":0}"#),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{end}}", "0=A=1;1=B=2;"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}} -> {{with $c}}{{(index . 0).HostPort}}{{else}}-{{end}} {{end}}",
            "80/tcp -> 8080 90/udp -> - ",
        ),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "172.17.0.2"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if eq .State.ExitCode 0 1}}ok{{end}}", "ok"),
        ("{{if and .State.Running (gt .State.Pid 10)}}yes{{end}}", "yes"),
        ("{{if not .State.Running}}a{{else if .Id}}b{{else}}c{{end}}", "b"),
        ("{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none"),
        ("{{join .Config.Env \",\"}}", "A=1,B=2"),
        ("{{upper .Id}} {{title \"hello world\"}} {{truncate .Id 2}}", "ABC Hello World ab"),
        ("{{split \"a:b\" \":\" | json}}", r#"["a","b"]"#),
        ("{{pad .Id 1 2}}|", " abc  |"),
        ("{{.Id | printf \"%-5s|%5s|%q\" \"x\" \"y\"}}", "x    |    y|\"abc\""),
        ("{{printf \"%d%% %05d %.2f %x\" .State.Pid .State.Pid .F 255}}", "42% 00042 1.50 ff"),
        ("{{len .Config.Env}} {{slice .Id 1 3}}", "2 bc"),
        ("{{.Config.Entrypoint}} {{.State.Health}} {{.Config.Volumes}}", "[] <nil> map[]"),
        ("a {{- /* note */ -}} b", "ab"),
        ("{{ $x := .Id }}{{ $x }}{{ $.State.Pid }}", "abc42"),
        ("{{$x := 1}}{{range .Config.Env}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{range .Config.Env}}{{.}}{{break}}{{end}}", "A=1"),
        ("{{`raw\\n`}}{{\"\\t\"}}{{'a'}}", "raw\\n\t97"),
        (
            "{{.}}",
            "map[Config:map[Entrypoint:<nil> Env:[A=1 B=2] Labels:map[a:2 z:1]] F:1.5 Id:abc \
            NetworkSettings:map[Networks:map[bridge:map[IPAddress:172.17.0.2]] \
            Ports:map[80/tcp:[map[HostIp:0.0.0.0 HostPort:8080]] 90/udp:<nil>]] SizeRw:1000000 \
            State:map[ExitCode:0 Pid:42 Running:true]]",
        ),
    ] {
        assert_eq!(render(template, INSPECT).as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (template, part) in [
        ("{{.Nope}}", "map has no entry for key \"Nope\""),
        ("{{.Id", "unclosed action"),
        ("{{nope .Id}}", "function \"nope\" not defined"),
        ("{{if .Id}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{index .Config.Env 7}}", "out of range"),
        ("{{.Id.X}}", "can't evaluate field X"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{.Id \"x\"}}", "cannot be invoked"),
        ("{{\"x}}", "unterminated"),
        ("{{}}", "missing value"),
    ] {
        let message = render(template, INSPECT).expect_err(template).to_string();
        assert!(message.contains(part), "{template}: {message}");
    }
}

#[test]
fn headings_pass_through_functions_that_shape_values() {
    let header = Value::Map(vec![("Names".into(), "NAMES".into())]);
    let shown = parse("{{lower .Names}} {{truncate .Names 2}}")
        .and_then(|template| template.execute(&header, None, Mode::Header));
    assert_eq!(shown.as_deref(), Ok("NAMES NAMES"));
}

#[test]
fn significant_digits_are_gos() {
    for (number, digits, want) in [
        (0.0, 4, "0"),
        (1.0, 4, "1"),
        (999.9, 3, "1e+03"),
        (12.345, 4, "12.35"),
        (1.5, 3, "1.5"),
        (123_456.0, 4, "1.235e+05"),
        (0.00001, 4, "1e-05"),
    ] {
        assert_eq!(general(number, digits), want);
    }
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_an_error(text in "\\PC{0,60}") {
        let _ = render(&text, INSPECT);
    }

    #[test]
    fn any_action_is_carried_out_or_refused(
        text in "[{}$.()|a-zA-Z0-9\"` ,:=%-]{0,40}"
    ) {
        let _ = render(&format!("{{{{{text}}}}}"), INSPECT);
    }
}
