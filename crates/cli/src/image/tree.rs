//! `ls --tree`: images on the layers that they share.

use docker_api::layers::{LayerImage, LayerNode};

use crate::show::human;
use crate::show::table::Table;

/// Only what leads to images with a name that fits.
pub(super) fn leading_to(
    mut nodes: Vec<LayerNode>,
    fits: &impl Fn(&str) -> bool,
) -> Vec<LayerNode> {
    let mut wanted = vec![false; nodes.len()];
    for index in (0..nodes.len()).rev() {
        nodes[index].images.retain(|image| image.names.iter().any(|name| fits(name)));
        wanted[index] |= !nodes[index].images.is_empty();
        if wanted[index]
            && let Some(parent) = parent(&nodes, index)
        {
            wanted[parent] = true;
        }
    }
    let mut places = Vec::new();
    let mut kept: Vec<LayerNode> = Vec::new();
    for (index, mut node) in nodes.into_iter().enumerate() {
        places.push(kept.len());
        if wanted[index] {
            let above = usize::try_from(node.parent).ok().and_then(|at| places.get(at));
            node.parent = above.and_then(|at| i64::try_from(*at).ok()).unwrap_or(-1);
            kept.push(node);
        }
    }
    kept
}

/// What a layer stands on. What does not come before it makes no sense and is passed over.
fn parent(nodes: &[LayerNode], index: usize) -> Option<usize> {
    usize::try_from(nodes[index].parent).ok().filter(|parent| *parent < index)
}

/// The trees as text.
pub(super) fn render(nodes: &[LayerNode], full: bool) -> String {
    let mut children = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for index in 0..nodes.len() {
        match parent(nodes, index) {
            Some(parent) => children[parent].push(index),
            None => roots.push(index),
        }
    }
    let mut tree = Tree { nodes, children, table: Table::default(), full };
    tree.table.row("LAYER\tSIZE\tTOTAL\tIMAGE");
    for (place, root) in roots.into_iter().enumerate() {
        if place > 0 {
            tree.table.row("\t\t\t");
        }
        tree.rows(root, &[], 0);
    }
    trim(&tree.table.render())
}

struct Tree<'a> {
    nodes: &'a [LayerNode],
    /// By node.
    children: Vec<Vec<usize>>,
    table: Table,
    full: bool,
}

impl Tree<'_> {
    /// A layer, the images that end with it, and what stands on it. `last` says for each level
    /// whether nothing follows it there.
    fn rows(&mut self, index: usize, last: &[bool], below: i64) {
        let node = &self.nodes[index];
        let mut lead = String::new();
        if let Some((own, above)) = last.split_last() {
            for done in above {
                lead.push_str(if *done { "   " } else { "│  " });
            }
            lead.push_str(if *own { "└─ " } else { "├─ " });
        }
        let total = below.saturating_add(node.size);
        let id = match node.diff_id.as_str() {
            "" => "<no layers>",
            id if self.full => id,
            id => human::short_id(id),
        };
        let command = node.created_by.replace(['\t', '\n'], " ");
        let command = if self.full { command } else { human::ellipsis(command.trim(), 40) };
        let mut images = node.images.iter().map(|image| named(image, self.full));
        let first = images.next().unwrap_or_default();
        self.table.row(&format!(
            "{}\t{}\t{}\t{first}",
            format!("{lead}{id} {command}").trim_end(),
            human::size(node.size, 3),
            human::size(total, 3)
        ));
        // Further images with the same layers stand below the first.
        let mut rest: String = last.iter().map(|done| if *done { "   " } else { "│  " }).collect();
        let children = std::mem::take(&mut self.children[index]);
        if !children.is_empty() {
            rest.push('│');
        }
        for image in images {
            self.table.row(&format!("{rest}\t\t\t{image}"));
        }
        for (place, child) in children.iter().enumerate() {
            let mut last = last.to_vec();
            last.push(place + 1 == children.len());
            self.rows(*child, &last, total);
        }
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

    fn node(parent: i64, id: char, size: i64, by: &str, images: &[&str]) -> LayerNode {
        let images = images.iter().map(|name| LayerImage {
            id: format!("sha256:{}", "f".repeat(64)),
            names: vec![(*name).to_owned()],
            ..LayerImage::default()
        });
        LayerNode {
            diff_id: format!("sha256:{}", id.to_string().repeat(64)),
            parent,
            size,
            created_by: by.to_owned(),
            images: images.collect(),
        }
    }

    #[test]
    fn images_stand_on_what_they_share() {
        let nodes = vec![
            node(-1, 'a', 4_000_000, "ADD rootfs", &["base:1"]),
            node(0, 'b', 0, "ENV A=b", &[]),
            node(-1, 'e', 1, "", &["lone:1"]),
            node(1, 'd', 5_000, "RUN make", &["app:1"]),
            node(0, 'c', 70_000, "COPY . .", &["web:1", "web:2"]),
        ];
        let want = "\
LAYER                         SIZE      TOTAL     IMAGE
aaaaaaaaaaaa ADD rootfs       4MB       4MB       base:1 (ffffffffffff)
├─ bbbbbbbbbbbb ENV A=b       0B        4MB
│  └─ dddddddddddd RUN make   5kB       4MB       app:1 (ffffffffffff)
└─ cccccccccccc COPY . .      70kB      4.07MB    web:1 (ffffffffffff)
                                                  web:2 (ffffffffffff)

eeeeeeeeeeee                  1B        1B        lone:1 (ffffffffffff)
";
        assert_eq!(render(&nodes, false), want);
        let text = render(&leading_to(nodes, &|name| name.starts_with("app")), false);
        assert_eq!(
            text,
            "\
LAYER                         SIZE      TOTAL     IMAGE
aaaaaaaaaaaa ADD rootfs       4MB       4MB
└─ bbbbbbbbbbbb ENV A=b       0B        4MB
   └─ dddddddddddd RUN make   5kB       4MB       app:1 (ffffffffffff)
"
        );
        let nonsense = vec![node(7, 'a', 1, "", &["x:1"]), node(1, 'b', 1, "", &["y:1"])];
        assert_eq!(render(&leading_to(nonsense, &|_| true), false).lines().count(), 4);
    }
}
