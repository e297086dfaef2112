//! `ls --tree`: images on the layers that they share.

use std::fmt::Write as _;

use docker_api::layers::{LayerImage, LayerNode};

use crate::show::human;
use crate::show::table::Table;

/// Only what leads to images with a name that fits.
pub(super) fn leading_to(nodes: Vec<LayerNode>, fits: &impl Fn(&str) -> bool) -> Vec<LayerNode> {
    nodes
        .into_iter()
        .filter_map(|mut node| {
            node.images.retain(|image| image.names.iter().any(|name| fits(name)));
            node.children = leading_to(std::mem::take(&mut node.children), fits);
            (!node.images.is_empty() || !node.children.is_empty()).then_some(node)
        })
        .collect()
}

/// The trees as text.
pub(super) fn render(nodes: &[LayerNode], full: bool) -> String {
    let mut table = Table::default();
    table.row("LAYER\tSIZE\tTOTAL\tIMAGE");
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            table.row("\t\t\t");
        }
        rows(&mut table, node, &[], 0, full);
    }
    trim(&table.render())
}

/// A layer, the images that end with it, and what stands on it. `last` says for each level
/// whether nothing follows it there.
fn rows(table: &mut Table, node: &LayerNode, last: &[bool], below: i64, full: bool) {
    let mut lead = String::new();
    if let Some((own, above)) = last.split_last() {
        for done in above {
            lead.push_str(if *done { "   " } else { "│  " });
        }
        lead.push_str(if *own { "└─ " } else { "├─ " });
    }
    let total = below.saturating_add(node.size);
    let id = if full { node.diff_id.as_str() } else { human::short_id(&node.diff_id) };
    let mut row = format!("{lead}{id} ");
    let command = node.created_by.replace(['\t', '\n'], " ");
    let command = if full { command } else { human::ellipsis(&command, 40) };
    row.push_str(command.trim());
    let _ = write!(row, "\t{}\t{}\t", human::size(node.size, 3), human::size(total, 3));
    let mut images = node.images.iter().map(|image| named(image, full));
    row.push_str(&images.next().unwrap_or_default());
    table.row(&row);
    // Further images with the same layers stand below the first.
    let mut rest = String::new();
    for done in last {
        rest.push_str(if *done { "   " } else { "│  " });
    }
    if !node.children.is_empty() {
        rest.push('│');
    }
    for image in images {
        table.row(&format!("{rest}\t\t\t{image}"));
    }
    for (index, child) in node.children.iter().enumerate() {
        let mut last = last.to_vec();
        last.push(index + 1 == node.children.len());
        rows(table, child, &last, total, full);
    }
}

fn named(image: &LayerImage, full: bool) -> String {
    let id = if full { image.id.as_str() } else { human::short_id(&image.id) };
    if image.names.is_empty() {
        return format!("<none> ({id})");
    }
    format!("{} ({id})", image.names.join(", "))
}

/// No blanks at the ends of lines.
fn trim(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: char, size: i64, by: &str, images: &[&str], children: Vec<LayerNode>) -> LayerNode {
        let images = images.iter().map(|name| LayerImage {
            id: format!("sha256:{}", "f".repeat(64)),
            names: vec![(*name).to_owned()],
            ..LayerImage::default()
        });
        LayerNode {
            diff_id: format!("sha256:{}", id.to_string().repeat(64)),
            size,
            created_by: by.to_owned(),
            images: images.collect(),
            children,
        }
    }

    #[test]
    fn images_stand_on_what_they_share() {
        let top = node('d', 5_000, "RUN make", &["app:1"], vec![]);
        let other = node('c', 70_000, "COPY . .", &["web:1", "web:2"], vec![]);
        let base = node(
            'a',
            4_000_000,
            "ADD rootfs",
            &["base:1"],
            vec![node('b', 0, "ENV A=b", &[], vec![top]), other],
        );
        let text = render(&[base.clone(), node('e', 1, "", &["lone:1"], vec![])], false);
        let want = "\
LAYER                         SIZE      TOTAL     IMAGE
aaaaaaaaaaaa ADD rootfs       4MB       4MB       base:1 (ffffffffffff)
├─ bbbbbbbbbbbb ENV A=b       0B        4MB
│  └─ dddddddddddd RUN make   5kB       4MB       app:1 (ffffffffffff)
└─ cccccccccccc COPY . .      70kB      4.07MB    web:1 (ffffffffffff)
                                                  web:2 (ffffffffffff)

eeeeeeeeeeee                  1B        1B        lone:1 (ffffffffffff)
";
        assert_eq!(text, want);
        let fewer = leading_to(vec![base], &|name| name.starts_with("app"));
        let text = render(&fewer, false);
        assert!(text.contains("app:1") && !text.contains("web:1") && !text.contains("base:1"));
        assert!(text.contains("ADD rootfs"));
    }
}
