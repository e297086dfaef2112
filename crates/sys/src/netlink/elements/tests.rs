use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

fn nft(text: &str) {
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    assert!(child.wait().expect("its end").success(), "{text}");
}

fn listed(set: &str) -> String {
    let output = Command::new("nft").args(["list", "set", "inet", "t", set]).output();
    String::from_utf8(output.expect("nft").stdout).expect("text")
}

fn port(number: u16) -> Element {
    Element { key: number.to_be_bytes().to_vec(), ..Element::default() }
}

fn change<'a>(set: &'a str, add: bool, elements: &'a [Element]) -> Change<'a> {
    Change { family: Family::Inet, table: "t", set, add, elements }
}

#[test]
fn privileged_elements_come_and_go_in_one_transaction() {
    crate::netns::create(|_| {
        let mut elements = Elements::open().expect("a socket");
        let wanted = [port(80), port(443)];
        let add = [change("ports", true, &wanted)];
        let e = elements.run(&add).expect_err("no table");
        assert_eq!(e.errno(), Some(libc::ENOENT));
        assert!(!elements.has_table(Family::Inet, "t").expect("an answer"));
        nft("table inet t { set ports { type inet_service; }\n\
             map ways { type inet_proto . inet_service : ipv4_addr; flags interval; }\n}");
        assert!(elements.has_table(Family::Inet, "t").expect("an answer"));
        elements.run(&add).expect("put in");
        elements.run(&add).expect("put in again");
        assert!(listed("ports").contains("elements = { 80, 443 }"), "{}", listed("ports"));
        let missing = [port(443), port(1)];
        let both = [change("ports", false, &wanted[..1]), change("ports", false, &missing)];
        let e = elements.run(&both).expect_err("one is not there");
        assert_eq!((e.errno(), e.index), (Some(libc::ENOENT), 2));
        assert!(listed("ports").contains("elements = { 80, 443 }"), "all or none");
        elements.run(&[change("ports", false, &wanted)]).expect("taken out");
        assert!(!listed("ports").contains("elements"));
        elements.run(&[]).expect("nothing to do");
    })
    .expect("a namespace");
}

#[test]
fn privileged_a_range_leads_somewhere() {
    crate::netns::create(|_| {
        let mut elements = Elements::open().expect("a socket");
        nft("table inet t { \
             map ways { type inet_proto . inet_service : ipv4_addr; flags interval; }\n}");
        let key = |port: u16| {
            let [high, low] = port.to_be_bytes();
            vec![6, 0, 0, 0, high, low, 0, 0]
        };
        let range =
            [Element { key: key(8000), end: Some(key(8999)), value: Some(vec![172, 17, 0, 2]) }];
        elements.run(&[change("ways", true, &range)]).expect("put in");
        let output = Command::new("nft").args(["list", "map", "inet", "t", "ways"]).output();
        let text = String::from_utf8(output.expect("nft").stdout).expect("text");
        assert!(text.contains("tcp . 8000-8999 : 172.17.0.2"), "{text}");
        elements.run(&[change("ways", false, &range)]).expect("taken out");
    })
    .expect("a namespace");
}

#[test]
fn privileged_more_than_a_message_holds() {
    crate::netns::create(|_| {
        let mut elements = Elements::open().expect("a socket");
        nft("table inet t { set ports { type inet_service; }\n}");
        let all: Vec<Element> = (1..=10_000).map(port).collect();
        elements.run(&[change("ports", true, &all)]).expect("put in");
        assert_eq!(listed("ports").matches(',').count(), all.len() - 1);
        elements.run(&[change("ports", false, &all)]).expect("taken out");
        assert!(!listed("ports").contains("elements"));
    })
    .expect("a namespace");
}
