use crate::model::ChangeKind::{Added, Deleted, Modified};
use crate::testing::Fixture;

#[test]
fn privileged_images_are_compared_by_what_their_files_are() {
    let fixture = Fixture::new();
    let first = fixture.image(
        "one:1",
        &[&[
            ("etc/", "d"),
            ("etc/same", "-same"),
            ("etc/other", "-text"),
            ("etc/grows", "-a"),
            ("gone/", "d"),
            ("gone/file", "-x"),
            ("turns", "-file"),
            ("link", ">there"),
        ]],
    );
    let second = fixture.image(
        "two:1",
        &[
            &[
                ("etc/", "d"),
                ("etc/same", "-same"),
                ("etc/other", "-TEXT"),
                ("etc/grows", "-aaa"),
                ("turns/", "d"),
                ("turns/new", "-y"),
                ("link", ">elsewhere"),
            ],
            &[("etc/new", "-new")],
        ],
    );
    let changes = fixture.store.compare(&first, &second).expect("compare");
    let shown: Vec<_> = changes
        .iter()
        .map(|c| (c.path.as_str(), c.kind, c.old_size, c.size, c.what.join(" ")))
        .collect();
    let expected = [
        ("/etc/grows", Modified, 1, 3, "content"),
        ("/etc/new", Added, 0, 3, ""),
        ("/etc/other", Modified, 4, 4, "content"),
        ("/gone", Deleted, 0, 0, ""),
        ("/gone/file", Deleted, 1, 0, ""),
        ("/link", Modified, 0, 0, "target"),
        ("/turns", Modified, 4, 0, "type"),
        ("/turns/new", Added, 0, 1, ""),
    ];
    assert_eq!(shown, expected.map(|(a, b, c, d, e)| (a, b, c, d, e.to_owned())));
    assert_eq!(fixture.store.compare(&first, &first).expect("compare"), []);
    let none = "sha256:00".to_owned() + &"0".repeat(62);
    assert!(fixture.store.compare(&first, &none.parse().expect("digest")).is_err());
}
