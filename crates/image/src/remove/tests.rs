use super::*;

fn id(byte: u8) -> Digest {
    Digest::from_sha256([byte; 32])
}

fn name(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

fn user(image: u8, running: bool) -> ContainerUse {
    ContainerUse { container: "c0ffee".repeat(10), image: id(image), running }
}

/// Two images: 1 is the parent of 2, which is called `app:latest`.
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.add(&id(1), None, &[]);
    catalog.add(&id(2), Some(id(1)), &[]);
    catalog.give_name(name("app:latest"), &id(2));
    catalog
}

/// Carries a removal out on the catalog and writes down what happened.
fn remove(
    catalog: &mut Catalog,
    text: &str,
    force: bool,
    users: &[ContainerUse],
) -> Result<Vec<String>, String> {
    let mut copy = catalog.clone();
    let mut plan = Plan { catalog: &mut copy, users, done: Vec::new(), gone: Vec::new() };
    plan.remove(text, RemoveOptions { force, no_prune: false }).map_err(|e| e.to_string())?;
    let done = plan.done.iter().map(|removal| match removal {
        Removal::Untagged { reference, .. } => format!("-{reference}"),
        Removal::DeletedImage(id) => format!("!{}", &id.hex()[..2]),
        Removal::DeletedLayer { .. } => "layer".to_owned(),
    });
    let done = done.collect();
    *catalog = copy;
    Ok(done)
}

#[test]
fn the_last_name_takes_the_image_and_its_nameless_parents_along() {
    let mut catalog = catalog();
    let done = remove(&mut catalog, "app", false, &[]).expect("removed");
    assert_eq!(done, ["-app:latest", "!02", "!01"]);
    assert_eq!(catalog, Catalog::default());
}

#[test]
fn one_name_of_several_is_only_a_name() {
    let mut catalog = catalog();
    catalog.give_name(name("other:1"), &id(2));
    assert_eq!(remove(&mut catalog, "app", false, &[]).expect("untagged"), ["-app:latest"]);
    let done = remove(&mut catalog, "other:1", false, &[]).expect("removed");
    assert_eq!(done, ["-other:1", "!02", "!01"]);
}

#[test]
fn an_id_with_names_in_several_repositories_needs_force() {
    let mut catalog = catalog();
    catalog.give_name(name("other:1"), &id(2));
    let short = id(2).short().to_owned();
    assert_eq!(
        remove(&mut catalog, &short, false, &[]),
        Err(format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple \
             repositories"
        ))
    );
    let done = remove(&mut catalog, &short, true, &[]).expect("forced");
    assert_eq!(done, ["-app:latest", "-other:1", "!02", "!01"]);
}

#[test]
fn containers_keep_their_image() {
    let mut catalog = catalog();
    let short = id(2).short().to_owned();
    assert_eq!(
        remove(&mut catalog, "app", false, &[user(2, false)]),
        Err(format!(
            "conflict: unable to remove repository reference \"app\" (must force) - container \
             c0ffeec0ffee is using its referenced image {short}"
        ))
    );
    assert_eq!(
        remove(&mut catalog, &short, true, &[user(2, true)]),
        Err(format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by \
             running container c0ffeec0ffee"
        ))
    );
    assert_eq!(
        remove(&mut catalog, &short, false, &[user(2, false)]),
        Err(format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped \
             container c0ffeec0ffee"
        ))
    );
    // Forced, the name goes and the image of a running container stays without a word.
    let mut running = catalog.clone();
    let done = remove(&mut running, "app", true, &[user(2, true)]).expect("untagged");
    assert_eq!(done, ["-app:latest"]);
    let done = remove(&mut catalog, "app", true, &[user(2, false)]).expect("forced");
    assert_eq!(done, ["-app:latest", "!02", "!01"]);
}

#[test]
fn parents_stay_while_they_have_children_or_names() {
    let mut catalog = catalog();
    assert_eq!(
        remove(&mut catalog, id(1).hex(), true, &[]),
        Err(format!(
            "conflict: unable to delete {} (cannot be forced) - image has dependent child images",
            id(1).short()
        ))
    );
    catalog.give_name(name("base:latest"), &id(1));
    assert_eq!(remove(&mut catalog, "app", false, &[]).expect("removed"), ["-app:latest", "!02"]);
    assert!(catalog.images.contains_key(&id(1)));
}

#[test]
fn digests_go_with_the_last_tag_of_their_repository() {
    let mut catalog = catalog();
    catalog.give_name(name("app").with_digest(id(9)), &id(2));
    let done = remove(&mut catalog, "app:latest", false, &[]).expect("removed");
    assert_eq!(
        done,
        ["-app:latest".to_owned(), format!("-app@{}", id(9)), "!02".into(), "!01".into()]
    );
}

#[test]
fn chain_ids_are_the_specifications() {
    let layers = [id(1), id(2)];
    let expected = format!("{} {}", id(1), id(2));
    assert_eq!(chain_ids(&layers), [id(1), Digest::from_sha256(Sha256::digest(expected).into())]);
}
